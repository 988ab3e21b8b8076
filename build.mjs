// Writes dist/langflow-leader.mjs: the whole program in one file that needs nothing beside it but Node.
// Both of a pod's processes hold the file's text in memory, so what the program never calls is left out of it.
import { chmod } from 'node:fs/promises'
import { builtinModules, createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { build } from 'esbuild'

const require = createRequire(import.meta.url)
const UNDICI = join(dirname(require.resolve('undici/package.json')), 'lib')

/** Modules of libraries that nothing here reaches, with the reason why. Reaching one all the same throws. */
const LEFT_OUT = [
  // fastify: no route has a schema, no plugin names a version, nothing is injected.
  /^@fastify\/(ajv|fast-json-stringify)-compiler$/,
  /^light-my-request$/,
  /^semver$/,
  // pino: nothing is written by another thread.
  /^thread-stream$/,
  // undici: HTTP/1 only, no form is sent, no SOCKS proxy.
  /\/client-h2(\.js)?$/,
  /\/web\/fetch\/body(\.js)?$/,
  /\/socks5-proxy-agent(\.js)?$/,
  // client-node: only its kubeconfig and its credentials are used, not its generated client.
  /^\.\/gen\/index\.js$/,
  /^\.\/middleware\.js$/,
  /^socks(-proxy-agent)?$/,
]

const leaveOut = {
  name: 'leave-out',
  setup({ onResolve, onLoad }) {
    for (const filter of LEFT_OUT) onResolve({ filter }, ({ path }) => ({ path, namespace: 'left-out' }))
    onLoad({ filter: /.*/, namespace: 'left-out' }, ({ path }) => ({
      contents: `module.exports = function () { throw new Error(${JSON.stringify(`${path} is left out of this build`)}) }`,
    }))
  },
}

/** The parts of undici that are used; its index would load fetch, web sockets, mocks and caches. */
const undici = {
  name: 'undici',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^undici$/ }, () => ({ path: 'undici', namespace: 'undici' }))
    onLoad({ filter: /.*/, namespace: 'undici' }, () => ({
      resolveDir: UNDICI,
      contents: `
        export { default as Client } from './dispatcher/client.js'
        export { default as Agent } from './dispatcher/agent.js'
        export { default as ProxyAgent } from './dispatcher/proxy-agent.js'
        import Agent from './dispatcher/agent.js'
        import api from './api/api-request.js'
        let agent
        export const request = (url, o) => api.call(agent??=new Agent(),{...o,origin:url.origin,path:url.pathname+url.search,method:'GET'})`,
    }))
  },
}

/** Node's own modules are loaded by the first use of something in them: as imports they would all be loaded at the start. */
const lazyBuiltins = {
  name: 'lazy-builtins',
  setup({ onResolve, onLoad }) {
    const names = builtinModules.map((name) => name.replace(/^node:/, ''))
    const filter = new RegExp(`^(node:)?(${names.join('|')})$`)
    onResolve({ filter }, ({ path }) => ({ path: path.replace(/^(node:)?/, 'node:'), namespace: 'builtin' }))
    onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => {
      const builtin = process.getBuiltinModule(path)
      const load = `process.getBuiltinModule(${JSON.stringify(path)})`
      if (path === 'node:worker_threads') return { contents: 'exports.isMainThread = true' }
      if (typeof builtin === 'function') return { contents: `module.exports = ${load}` }
      const keys = JSON.stringify(Object.keys(builtin))
      return {
        contents: `for (const key of ${keys}) Object.defineProperty(exports, key, { enumerable: true, get: () => ${load}[key] })`,
      }
    })
  },
}

const outfile = 'dist/langflow-leader.mjs'
await build({
  entryPoints: ['agent/main.ts'],
  outfile,
  absWorkingDir: import.meta.dirname,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  minify: true,
  legalComments: 'none',
  logLevel: 'warning',
  // CommonJS inside an ES module has no require of its own.
  banner: {
    js: "#!/usr/bin/env node\nimport{createRequire}from'node:module';const require=createRequire(import.meta.url);",
  },
  // The name by which undici knows that it is bundled: it then leaves out its second, experimental parser.
  define: { esbuildDetection: 'true' },
  plugins: [lazyBuiltins, leaveOut, undici],
})
await chmod(join(import.meta.dirname, outfile), 0o755)
