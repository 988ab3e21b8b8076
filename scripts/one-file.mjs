import { basename } from 'node:path'
import { brotliCompressSync } from 'node:zlib'

/**
 * Packs esbuild's chunks into one ES module. V8 spends some ten bytes of memory on every byte of code that it parses,
 * used or not; a launcher, which needs a tenth of the code, would pay for the agent's. So a chunk stays text until it
 * is imported, and one that is imported on demand stays compressed.
 * @param {import('esbuild').OutputFile[]} files
 * @param {import('esbuild').Metafile} metafile
 */
export function oneFile(files, { outputs }) {
  const names = new Map(Object.keys(outputs).map((path) => [basename(path), path]))
  const early = new Set()
  const visit = (path) => {
    if (early.has(path)) return
    early.add(path)
    for (const { path: next, kind } of outputs[path].imports) if (kind === 'import-statement') visit(next)
  }
  visit(names.get('main.js'))

  const texts = {}
  for (const { path, text, contents } of files) {
    const name = basename(path)
    texts[name] = early.has(names.get(name)) ? text : [brotliCompressSync(contents).toString('base64')]
  }
  return `#!/usr/bin/env node\nconst chunks=${JSON.stringify(texts)};\n(${start})(chunks);\nawait import("langflow-leader:/main.js")\n`
}

/** Runs in the written file: lets its chunks import each other. */
function start(chunks) {
  const { registerHooks } = process.getBuiltinModule('node:module')
  const scheme = 'langflow-leader:/'
  registerHooks({
    resolve(specifier, context, next) {
      if (!specifier.startsWith(scheme) && !context.parentURL?.startsWith(scheme)) return next(specifier, context)
      return { url: new URL(specifier, context.parentURL).href, format: 'module', shortCircuit: true }
    },
    load(url, context, next) {
      if (!url.startsWith(scheme)) return next(url, context)
      const text = chunks[url.slice(scheme.length)]
      return { format: 'module', source: typeof text === 'string' ? text : unpack(text[0]), shortCircuit: true }
    },
  })
  const unpack = (packed) => process.getBuiltinModule('node:zlib').brotliDecompressSync(Buffer.from(packed, 'base64'))
}
