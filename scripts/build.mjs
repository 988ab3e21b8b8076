// Writes dist/langflow-leader.mjs: the whole program in one file that needs nothing beside it but Node.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'
import { lazyBuiltins, leaveOut, undici } from './bundle-plugins.mjs'
import { oneFile } from './one-file.mjs'

const root = join(import.meta.dirname, '..')
const { outputFiles, metafile } = await build({
  entryPoints: ['agent/main.ts'],
  outdir: 'dist',
  absWorkingDir: root,
  write: false,
  metafile: true,
  bundle: true,
  splitting: true,
  chunkNames: '[name]-[hash]',
  platform: 'node',
  target: 'node24',
  format: 'esm',
  minify: true,
  legalComments: 'none',
  logLevel: 'warning',
  // The name by which undici knows that it is bundled: it then leaves out its second, experimental parser.
  define: { esbuildDetection: 'true' },
  plugins: [lazyBuiltins, leaveOut, undici],
})
await mkdir(join(root, 'dist'), { recursive: true })
await writeFile(join(root, 'dist/langflow-leader.mjs'), oneFile(outputFiles, metafile), { mode: 0o755 })
