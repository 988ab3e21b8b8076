import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'undici'
import { parse } from 'yaml'

const OUTSIDE = 'this runs inside a cluster of one node: use npm run test:cluster'
/** An API server that is stopped accepts connections and never answers. */
const ANSWER_WITHIN_MS = 5_000

export interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  readonly object: T
}

interface Kubeconfig {
  readonly clusters: readonly { cluster: { server: string; 'certificate-authority': string } }[]
  readonly users: readonly { user: { 'client-certificate': string; 'client-key': string } }[]
}

/** The cluster, as its administrator sees it from its node. */
export class Kube {
  /** Where pods reach what runs on the node. */
  readonly nodeAddress: string
  readonly #server: string
  readonly #agent: Agent

  /** Throws one sentence where no cluster is around. */
  constructor(file = process.env.KUBECONFIG) {
    if (!file) throw new Error(OUTSIDE)
    const { clusters, users } = parse(readFileSync(file, 'utf8')) as Kubeconfig
    const cluster = clusters[0]?.cluster
    const user = users[0]?.user
    if (!cluster || !user) throw new Error(OUTSIDE)
    this.#server = cluster.server
    this.nodeAddress = new URL(cluster.server).hostname
    const connect = {
      ca: readFileSync(cluster['certificate-authority']),
      cert: readFileSync(user['client-certificate']),
      key: readFileSync(user['client-key']),
    }
    this.#agent = new Agent({ connect, bodyTimeout: 0 })
  }

  /** Runs kubectl. Rejects with what it says on stderr. */
  kubectl(args: readonly string[], stdin = '', signal?: AbortSignal): Promise<string> {
    return new Promise((resolve, reject) => {
      const options = { maxBuffer: 2 ** 26, ...(signal === undefined ? {} : { signal }) }
      const child = execFile('kubectl', args, options, (error, stdout, stderr) => {
        if (error === null) resolve(stdout)
        else reject(new Error(`kubectl ${args.join(' ')}: ${stderr.trim() || error.message}`))
      })
      child.stdin?.end(stdin)
    })
  }

  /** What the API server says of one path. Rejects where that is no success, and after 5 s. */
  async get<T>(path: string): Promise<T> {
    const { statusCode, body } = await request(`${this.#server}${path}`, {
      dispatcher: this.#agent,
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    })
    const text = await body.text()
    if (statusCode !== 200) throw new Error(`GET ${path}: ${statusCode} ${text}`)
    return JSON.parse(text) as T
  }

  /** All changes of what one path lists, from what there is now, until `signal`. Opens the watch again where it ends. */
  async watch<T>(path: string, signal: AbortSignal, hear: (event: WatchEvent<T>) => void): Promise<void> {
    while (!signal.aborted) {
      try {
        const query = `${path.includes('?') ? '&' : '?'}watch=true`
        const { body } = await request(`${this.#server}${path}${query}`, { dispatcher: this.#agent, signal })
        let rest = ''
        for await (const chunk of body.setEncoding('utf8')) {
          const lines = (rest + chunk).split('\n')
          rest = lines.pop() as string
          for (const line of lines) hear(JSON.parse(line) as WatchEvent<T>)
        }
      } catch (error) {
        if (!signal.aborted && (error as Error).name === 'SyntaxError') throw error
      }
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }
}
