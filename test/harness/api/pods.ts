import { request } from 'undici'
import { AGENT_PORT } from '../../../agent/cli/manifests/pod-spec.ts'
import { DEFAULT_PORT } from '../../../agent/cli/manifests/workload.ts'
import { type Answer, type ApiRequest, Failure, notAllowed, notFound, notServed } from './api-server.ts'

interface PlayedPod {
  readonly name: string
  readonly uid: string
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly runs: boolean
  readonly ready: boolean
  /** The ports on 127.0.0.1 of its agent and its workload, which have 8090 and 7860 in a pod. */
  readonly agentPort: number
  readonly port: number
  /** `force`: without the time to hand over, as if the node is gone. */
  delete(force: boolean): void
}

const NAMESPACE = 'default'
const PODS = /^\/api\/v1\/namespaces\/([^/]+)\/pods(?:\/([^/:]+)(?::(\d+))?(?:\/(proxy)(\/.*)?)?)?$/
const PROXY_WITHIN_MS = 10_000

/**
 * Answers the requests, other than those about Leases, that the operating commands send. It lists and deletes the replicas as
 * pods, and passes requests on to them. `leaseName`: the Lease that the replicas compete for.
 */
export function servePods(leaseName: string, pods: () => readonly PlayedPod[]) {
  return async (request: ApiRequest): Promise<Answer> => {
    const { method, path, query } = request
    const [matches, namespace, name, port, proxy, below = '/'] = PODS.exec(path) ?? []
    if (matches === undefined) throw notServed()
    const here = namespace === NAMESPACE ? pods() : []
    if (name === undefined) {
      if (method !== 'GET' || query.has('watch')) throw notAllowed()
      const items = here.map((pod) => podObject(pod, leaseName))
      return { code: 200, body: { kind: 'PodList', apiVersion: 'v1', metadata: VERSION, items } }
    }
    const pod = here.find((pod) => pod.name === name)
    if (pod === undefined) throw notFound('pods', name)
    const isDeleted = method === 'DELETE' && proxy === undefined
    if (!isDeleted && method !== 'GET') throw notAllowed()
    if (isDeleted) pod.delete(isForced(request))
    if (proxy === undefined) return { code: 200, body: podObject(pod, leaseName) }
    return passOn(pod, Number(port), `${below}${query.size === 0 ? '' : `?${query}`}`)
  }
}

/** Pods have no real versions here, because no client watches or writes them. */
const VERSION = { resourceVersion: '1' }

/** The pod as deploy/langflow.yaml makes it, with only the fields that a client reads. */
function podObject({ name, uid, createdAt, runs, ready }: PlayedPod, leaseName: string) {
  const startedAt = `${new Date(createdAt).toISOString().slice(0, 19)}Z`
  const status = (container: string, isReady: boolean) => ({
    name: container,
    ready: isReady,
    started: runs,
    restartCount: 0,
    state: runs ? { running: { startedAt } } : { waiting: { reason: 'ContainerCreating' } },
  })
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: {
      name,
      namespace: NAMESPACE,
      uid,
      creationTimestamp: startedAt,
      labels: { 'app.kubernetes.io/name': 'langflow' } as Readonly<Record<string, string>>,
      ...VERSION,
    },
    spec: {
      nodeName: 'localhost',
      initContainers: [
        {
          name: 'agent',
          restartPolicy: 'Always',
          args: ['agent'],
          env: [{ name: 'LEADER_LEASE_NAME', value: leaseName }],
          ports: [{ name: 'agent', containerPort: AGENT_PORT }],
        },
      ],
      containers: [{ name: 'langflow', ports: [{ name: 'http', containerPort: DEFAULT_PORT }] }],
    },
    status: {
      phase: runs ? 'Running' : 'Pending',
      podIP: '127.0.0.1',
      startTime: startedAt,
      conditions: [{ type: 'Ready', status: runs && ready ? 'True' : 'False' }],
      initContainerStatuses: [status('agent', runs && ready)],
      containerStatuses: [status('langflow', runs)],
    },
  }
}

async function passOn({ agentPort, port }: PlayedPod, asked: number, path: string): Promise<Answer> {
  const at = { [AGENT_PORT]: agentPort, [DEFAULT_PORT]: port }[asked]
  const unreachable = (why: string) =>
    new Failure(
      503,
      'ServiceUnavailable',
      `error trying to reach service: dial tcp 127.0.0.1:${asked}: ${why}`,
    )
  if (at === undefined) throw unreachable('connect: connection refused')
  try {
    const signal = AbortSignal.timeout(PROXY_WITHIN_MS)
    // A new connection: the agent's drain would wait for an idle one.
    const { statusCode, headers, body } = await request(`http://127.0.0.1:${at}${path}`, {
      signal,
      reset: true,
    })
    return {
      code: statusCode,
      contentType: String(headers['content-type'] ?? 'text/plain'),
      body: await body.text(),
    }
  } catch (error) {
    const refused = (error as NodeJS.ErrnoException).code === 'ECONNREFUSED'
    throw unreachable(refused ? 'connect: connection refused' : 'i/o timeout')
  }
}

function isForced({ query, body }: ApiRequest): boolean {
  const { gracePeriodSeconds = query.get('gracePeriodSeconds') } = JSON.parse(body || '{}')
  return String(gracePeriodSeconds) === '0'
}
