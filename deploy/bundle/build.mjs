// Writes the whole program to dist/langflow-leader.mjs, or to the named file. It requires only Node.
import { readFileSync } from 'node:fs'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { brotliCompressSync } from 'node:zlib'
import { build } from 'esbuild'
import { ASIDE, reexec, setAside } from '../../agent/reexec.ts'

const root = join(import.meta.dirname, '../..')
const target = resolve(process.argv[2] ?? join(root, 'dist/langflow-leader.mjs'))

/**
 * V8's optimising compilers, for JavaScript and for the WebAssembly in which undici parses HTTP, permanently take some 25 MB.
 * A program with a few actions a second gains nothing from them. The flags have no effect if they are set later.
 */
const V8_FLAGS = ['--no-opt', '--no-maglev', '--liftoff-only', '--max-semi-space-size=1']
const FOR_NODE = 'v24.'

/**
 * The program uses only the kubeconfig and the credentials of client-node. Its generated client is never used, but would take
 * another 5 to 10 MB in an agent with a kubeconfig.
 */
const withoutGeneratedClient = {
  name: 'without-generated-client',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^\.\/(gen\/index|middleware)\.js$/ }, ({ path, importer }) =>
      importer.includes('@kubernetes/client-node') ? { path, namespace: 'left-out' } : undefined,
    )
    onLoad({ filter: /.*/, namespace: 'left-out' }, () => ({ contents: 'module.exports = {}' }))
  },
}

/** Replaces a call that reads a file next to its module with the text of that file. */
const withText = {
  name: 'with-text',
  setup({ onLoad }) {
    onLoad({ filter: /\/warm-process\.ts$/ }, ({ path }) => {
      const read = (file) => readFileSync(resolve(dirname(path), file), 'utf8')
      const call = /readFileSync\(new URL\('(.+?)', import\.meta\.url\), 'utf8'\)/
      return { contents: read(path).replace(call, (_, file) => JSON.stringify(read(file))), loader: 'ts' }
    })
  },
}

const { outputFiles, metafile } = await build({
  // Not agent/main.ts: the written file begins with the first steps of main.ts.
  entryPoints: { main: 'agent/program.ts' },
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
  // CommonJS libraries require Node's own modules at run time.
  banner: { js: "import { createRequire } from 'node:module';const require = createRequire('/');" },
  legalComments: 'none',
  logLevel: 'warning',
  plugins: [withoutGeneratedClient, withText],
})

/**
 * V8 keeps 28 MB for the parsed code of the whole program, used or not, and a launcher needs a tenth of it. So each of
 * esbuild's chunks is text that a method returns. V8 does not copy the text of a method until it is called, unlike that of an
 * arrow function. Chunks that are imported on demand are also compressed. Names and lines are those of the chunks.
 */
const early = importedBy('main.js')
const chunks = outputFiles.map(({ path, text, contents }) => {
  const name = basename(path)
  const packed = () => `unpack("${brotliCompressSync(contents).toString('base64')}")`
  return `${JSON.stringify(name)}(){return ${early.has(name) ? JSON.stringify(text) : packed()}}`
})
await mkdir(dirname(target), { recursive: true })
// Written under another name first, so that a start or another build in the meantime reads a whole file.
const draft = `${target}.${process.pid}`
const program = [
  '#!/usr/bin/env node',
  `{const ASIDE=${JSON.stringify(ASIDE)};${setAside}\n${reexec}\nreexec(${JSON.stringify(V8_FLAGS)},"${FOR_NODE}")}`,
  `(${start})({${chunks.join(',\n')}});`,
  unpack,
  'await import("langflow-leader:/main.js")\n',
]
try {
  await writeFile(draft, program.join('\n'), { mode: 0o755 })
  await rename(draft, target)
} catch (error) {
  await rm(draft, { force: true })
  throw error
}

/** The chunks that are loaded together with `name`. */
function importedBy(name) {
  const imports = new Map(
    Object.entries(metafile.outputs).map(([path, { imports }]) => [basename(path), imports]),
  )
  const found = new Set([name])
  for (const chunk of found) {
    for (const { path, kind } of imports.get(chunk) ?? [])
      if (kind === 'import-statement') found.add(basename(path))
  }
  return found
}

/** Runs in the written file. Resolves the imports between its chunks. */
function start(chunks) {
  const scheme = 'langflow-leader:/'
  process.getBuiltinModule('node:module').registerHooks({
    resolve(specifier, context, next) {
      const own =
        specifier.startsWith(scheme) || (specifier.startsWith('./') && context.parentURL?.startsWith(scheme))
      if (!own) return next(specifier, context)
      return { url: new URL(specifier, context.parentURL).href, format: 'module', shortCircuit: true }
    },
    load(url, context, next) {
      if (!url.startsWith(scheme)) return next(url, context)
      return { format: 'module', source: chunks[url.slice(scheme.length)](), shortCircuit: true }
    },
  })
}

/** Runs in the written file. */
function unpack(text) {
  return process.getBuiltinModule('node:zlib').brotliDecompressSync(Buffer.from(text, 'base64'))
}
