import { builtinModules, createRequire } from 'node:module'
import { dirname, join } from 'node:path'

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

export const leaveOut = {
  name: 'leave-out',
  setup({ onResolve, onLoad }) {
    for (const filter of LEFT_OUT) onResolve({ filter }, ({ path }) => ({ path, namespace: 'left-out' }))
    onLoad({ filter: /.*/, namespace: 'left-out' }, ({ path }) => ({
      contents: `module.exports = function () { throw new Error(${JSON.stringify(`${path} is left out of this build`)}) }`,
    }))
  },
}

/** The parts of undici that are used; its index would load fetch, web sockets, mocks and caches. */
export const undici = {
  name: 'undici',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^undici$/ }, () => ({ path: 'undici', namespace: 'undici' }))
    onLoad({ filter: /.*/, namespace: 'undici' }, () => ({
      resolveDir: UNDICI,
      contents: `
        import Agent from './dispatcher/agent.js'
        import Dispatcher from './dispatcher/dispatcher.js'
        import api from './api/api-request.js'
        import connect from './api/api-connect.js'
        export { default as buildConnector } from './core/connect.js'
        export { default as Client } from './dispatcher/client.js'
        export { default as Pool } from './dispatcher/pool.js'
        export { default as ProxyAgent } from './dispatcher/proxy-agent.js'
        export { Agent }
        Dispatcher.prototype.connect = connect // ProxyAgent opens its tunnels with it
        const agent = new Agent()
        export const request = ({ origin, pathname, search }, { dispatcher = agent, ...options } = {}) =>
          api.call(dispatcher, { method: 'GET', ...options, origin, path: pathname + search })`,
    }))
  },
}

/**
 * Node's own modules are loaded by the first use of something in them; as imports they would all be loaded at the
 * start, whether used or not.
 */
export const lazyBuiltins = {
  name: 'lazy-builtins',
  setup({ onResolve, onLoad }) {
    const names = builtinModules.map((name) => name.replace(/^node:/, ''))
    const filter = new RegExp(`^(node:)?(${names.join('|')})$`)
    onResolve({ filter }, ({ path }) => ({ path: path.replace(/^(node:)?/, 'node:'), namespace: 'builtin' }))
    onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => {
      // Pino asks for nothing else, and asks at once.
      if (path === 'node:worker_threads') return { contents: 'exports.isMainThread = true' }
      const builtin = process.getBuiltinModule(path)
      const load = `process.getBuiltinModule(${JSON.stringify(path)})`
      // One that is a class itself, such as node:events, has to be there to be extended.
      const isClass = typeof builtin === 'function' && Object.keys(builtin.prototype).length > 0
      if (isClass) return { contents: `module.exports = ${load}` }
      const keys = JSON.stringify(Object.keys(builtin))
      const getter = `{ enumerable: true, get: () => ${load}[key] }`
      return {
        contents: `
          ${typeof builtin === 'function' ? `module.exports = (...args) => ${load}(...args)` : ''}
          for (const key of ${keys}) Object.defineProperty(module.exports, key, ${getter})`,
      }
    })
  },
}
