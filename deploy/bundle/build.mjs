// Writes dist/langflow-leader.mjs, or the file that is named: the whole program, which needs nothing beside it but Node.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { build } from 'esbuild'
import { lazyBuiltins, leaveOut, undici } from './bundle-plugins.mjs'
import { oneFile } from './one-file.mjs'

const root = join(import.meta.dirname, '../..')
const { outputFiles, metafile } = await build({
  // Not agent/main.ts: the file begins with what that one does first.
  entryPoints: { main: 'agent/commands/program.ts' },
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
const target = resolve(process.argv[2] ?? join(root, 'dist/langflow-leader.mjs'))
await mkdir(dirname(target), { recursive: true })
await writeFile(target, oneFile(outputFiles, metafile), { mode: 0o755 })
