import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'undici'
import { parse } from 'yaml'

const OUTSIDE = 'this test runs inside a cluster of one node: use npm run test:cluster'
/** A stopped API server accepts connections and never answers. */
const ANSWER_WITHIN_MS = 5_000

/** The fields of a Pod object that the tests read. */
export interface Pod {
  readonly metadata: {
    readonly name: string
    readonly uid: string
    readonly annotations?: Readonly<Record<string, string>>
    readonly deletionTimestamp?: string
  }
  readonly spec: { readonly nodeName: string }
  readonly status: {
    readonly phase: string
    readonly podIP?: string
    readonly conditions?: readonly {
      readonly type: string
      readonly status: string
      readonly reason?: string
    }[]
    readonly containerStatuses?: readonly ContainerStatus[]
    readonly initContainerStatuses?: readonly ContainerStatus[]
  }
}

interface ContainerStatus {
  readonly name: string
  readonly containerID?: string
  readonly restartCount: number
}

export function containersOf({ status }: Pod): ContainerStatus[] {
  return [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])]
}

export function isReady({ status }: Pod): boolean {
  return status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false
}

/** The identity that the agent has in the Lease. */
export function identityOf({ metadata: { name, uid } }: Pod): string {
  return `${name}_${uid}`
}

/** The annotation by which tests distinguish revisions of the pod template. */
export function changeOf({ metadata }: Pod): string | undefined {
  return metadata.annotations?.['test/change']
}

interface Kubeconfig {
  readonly clusters: readonly [{ cluster: { server: string; 'certificate-authority': string } }]
  readonly users: readonly [{ user: { 'client-certificate': string; 'client-key': string } }]
}

/** Access to the cluster as its administrator, from its node. */
export class Kube {
  /** The address at which pods reach programs of the node. */
  readonly nodeAddress: string
  readonly #server: string
  readonly #agent: Agent

  /** Throws if the program doesn't run inside a cluster. */
  constructor() {
    if (!process.env.KUBECONFIG) throw new Error(OUTSIDE)
    const config = parse(readFileSync(process.env.KUBECONFIG, 'utf8')) as Kubeconfig
    const [{ cluster }] = config.clusters
    const [{ user }] = config.users
    this.#server = cluster.server
    this.nodeAddress = new URL(cluster.server).hostname
    const connect = {
      ca: readFileSync(cluster['certificate-authority']),
      cert: readFileSync(user['client-certificate']),
      key: readFileSync(user['client-key']),
    }
    this.#agent = new Agent({ connect, bodyTimeout: 0 })
  }

  /** Runs kubectl until it ends or `signal` aborts it. Rejects with its standard error. */
  kubectl(args: readonly string[], stdin = '', signal?: AbortSignal): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = execFile('kubectl', args, { maxBuffer: 2 ** 26, signal }, (error, stdout, stderr) => {
        if (error === null) resolve(stdout)
        else reject(new Error(`kubectl ${args.join(' ')}: ${stderr.trim() || error.message}`))
      })
      child.stdin?.end(stdin)
    })
  }

  /** Gets one path from the API server. Rejects if the status isn't 200, or after 5 s. */
  async get<T>(path: string): Promise<T> {
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS)
    const { statusCode, body } = await request(this.#server + path, { dispatcher: this.#agent, signal })
    const text = await body.text()
    if (statusCode !== 200) throw new Error(`GET ${path}: ${statusCode} ${text}`)
    return JSON.parse(text) as T
  }

  /** Reports each object of one path, now and after each change, until `signal`. Reopens the watch if it ends. */
  async watch<T>(path: string, signal: AbortSignal, report: (object: T) => void): Promise<void> {
    while (!signal.aborted) {
      try {
        const { body } = await request(this.#server + path, { dispatcher: this.#agent, signal })
        let rest = ''
        for await (const chunk of body.setEncoding('utf8')) {
          const lines = (rest + chunk).split('\n')
          rest = lines.pop() as string
          for (const { type, object } of lines.map((line) => JSON.parse(line)))
            if (type === 'ADDED' || type === 'MODIFIED') report(object as T)
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
