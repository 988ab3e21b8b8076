import { basename } from 'node:path'
import { brotliCompressSync } from 'node:zlib'
import { ASIDE, setAside, startAnew } from '../../agent/anew.ts'

/**
 * Packs esbuild's chunks into one ES module. V8 spends some ten bytes of memory on every byte of code that it parses,
 * used or not; a launcher, which needs a tenth of the code, would pay for the agent's. So each chunk is the text that
 * a method returns, which V8 does not even copy until it is called (an arrow function's it would); what is imported on
 * demand is compressed as well.
 * @param {import('esbuild').OutputFile[]} files
 * @param {import('esbuild').Metafile} metafile
 */
export function oneFile(files, { outputs }) {
  const early = importedBy('main.js', outputs)
  const chunks = files.map(({ path, text, contents }) => {
    const name = basename(path)
    const packed = () => `unpack("${brotliCompressSync(contents).toString('base64')}")`
    return `${JSON.stringify(name)}(){return ${early.has(name) ? JSON.stringify(text) : packed()}}`
  })
  return [
    '#!/usr/bin/env node',
    `{const ASIDE=${JSON.stringify(ASIDE)};${setAside}\n${startAnew}\nstartAnew(${JSON.stringify(FRUGAL)},"${FOR_NODE}")}`,
    `(${start})({${chunks.join(',\n')}});`,
    unpack,
    'await import("langflow-leader:/main.js")\n',
  ].join('\n')
}

/** The chunks that are there as soon as `name` is. */
function importedBy(name, outputs) {
  const imports = new Map(Object.entries(outputs).map(([path, output]) => [basename(path), output.imports]))
  const found = new Set([name])
  for (const chunk of found) {
    for (const { path, kind } of imports.get(chunk))
      if (kind === 'import-statement') found.add(basename(path))
  }
  return found
}

/**
 * V8 compiles at the first call, and never again, and keeps the space for young objects small. What optimises JavaScript, and
 * the WebAssembly in which undici parses HTTP, takes some 20 MB for good, and a program that does a few things a second gains
 * nothing by it. To interpret it would take 4 MB less, and a fifth more of CPU.
 */
const FRUGAL = ['--no-opt', '--no-maglev', '--always-sparkplug', '--liftoff-only', '--max-semi-space-size=1']
const FOR_NODE = 'v24.'

/** Runs in the written file: lets its chunks import each other. */
function start(chunks) {
  const scheme = 'langflow-leader:/'
  process.getBuiltinModule('node:module').registerHooks({
    resolve(specifier, context, next) {
      if (!specifier.startsWith(scheme) && !context.parentURL?.startsWith(scheme))
        return next(specifier, context)
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
