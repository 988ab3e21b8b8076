import { asFields, asList, asNumber, type Fields } from './manifest.ts'

/*
 * What every pod has beside LangFlow itself: the source for `inject`, and for `deploy/base`, which
 * test/deploy/pod-spec.test.ts compares with it.
 */

export const PROGRAM_DIR = '/opt/langflow-leader'
export const TOKEN_DIR = '/var/run/secrets/kubernetes.io/serviceaccount'
export const AGENT_PORT = 8090
export const FRONT_PORT = 8091
/** The port of LangFlow's container that Services lead to: the front's where there is one, else LangFlow's. */
export const SERVICE_PORT = 'http'

/** What the readiness probe asks, in each way to reach only the leader. */
export const READY_PATH = { readiness: '/readyz', front: '/frontz' } as const
export type Traffic = keyof typeof READY_PATH
/** A gate closes at once; a front holds, and a warm takeover of 1 to 2 s is not to take its pod from the endpoints and back. */
const NOT_READY_AFTER = { readiness: 1, front: 3 } as const

/** What a pod has to end beside the time to drain and to stop, in milliseconds. */
export const GRACE_SPARE_MS = 10_000

/** What LangFlow's own command is put behind: the launcher is PID 1. */
export const LAUNCH = [
  `${PROGRAM_DIR}/node`,
  // On SIGUSR1, which any flow can send, Node would let itself be debugged.
  '--disable-sigusr1',
  `${PROGRAM_DIR}/langflow-leader.mjs`,
  'launch',
  '--',
] as const

/** In LangFlow's container: read-only, so that no flow can replace the socket or the program. */
export function mounts(socketDir: string) {
  return [
    { name: 'program', mountPath: PROGRAM_DIR, readOnly: true },
    { name: 'socket', mountPath: socketDir, readOnly: true },
  ] as const
}

const STARTUP = { periodSeconds: 1, failureThreshold: 60 } as const
/** What does not answer does not react to SIGTERM either: the pod's own grace would only be lost time. */
const LIVENESS = { periodSeconds: 5, timeoutSeconds: 3, terminationGracePeriodSeconds: 5 } as const

/** Of LangFlow's container, asked of the agent about the launcher: never about leadership. */
export function probes(port: number) {
  const httpGet = { path: '/workloadz', port }
  return { startup: { httpGet, ...STARTUP }, liveness: { httpGet, ...LIVENESS } } as const
}

export const VOLUMES = [
  { name: 'program', emptyDir: {} },
  { name: 'socket', emptyDir: {} },
  { name: 'agent-state', emptyDir: {} },
  {
    name: 'token',
    projected: {
      sources: [
        { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
        { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
      ],
    },
  },
] as const

/** What the agent is told about its pod. A Deployment's pods have the first hash, a StatefulSet's the second. */
const POD_FIELDS = {
  POD_NAME: 'metadata.name',
  POD_UID: 'metadata.uid',
  POD_IP: 'status.podIP',
  POD_TEMPLATE_HASH: "metadata.labels['pod-template-hash']",
  CONTROLLER_REVISION_HASH: "metadata.labels['controller-revision-hash']",
} as const

/** The hash of a Rollout's pods. */
const ROLLOUT_HASH = "metadata.labels['rollouts-pod-template-hash']"

/** Of each container. The pod's share of the Pod Security Standard "restricted" is `RESTRICTED_POD`. */
export const RESTRICTED = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
} as const
export const RESTRICTED_POD = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } as const

const WITHOUT_FRONT = { requests: { cpu: '20m', memory: '96Mi' }, limits: { memory: '192Mi' } } as const
/** A front is a process of its own, and its connections are buffers: what is hit by the limit is the agent as well. */
const WITH_FRONT = { requests: { cpu: '50m', memory: '224Mi' }, limits: { memory: '512Mi' } } as const

interface AgentParts {
  /** The kind of the workload. */
  readonly kind: string
  readonly image: string
  readonly securityContext: object
  /** Beside `POD_FIELDS`. */
  readonly variables: readonly { readonly name: string; readonly value: string }[]
  readonly traffic: Traffic
  readonly port: number
  readonly socketDir: string
  readonly stateDir: string
}

/** `install` and the native sidecar `agent`. */
export function initContainers(parts: AgentParts) {
  const { kind, image, securityContext, variables, traffic, port, socketDir, stateDir } = parts
  const paths = kind === 'Rollout' ? { ...POD_FIELDS, POD_TEMPLATE_HASH: ROLLOUT_HASH } : POD_FIELDS
  const fields = Object.entries(paths).map(([name, fieldPath]) => ({
    name,
    valueFrom: { fieldRef: { fieldPath } },
  }))
  const live = { path: '/livez', port: 'agent' }
  const ready = { path: READY_PATH[traffic], port: 'agent' }
  return [
    {
      name: 'install',
      image,
      args: ['install', PROGRAM_DIR],
      securityContext,
      resources: { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '128Mi' } },
      volumeMounts: [{ name: 'program', mountPath: PROGRAM_DIR }],
    },
    {
      name: 'agent',
      image,
      restartPolicy: 'Always',
      args: ['agent'],
      env: [...fields, ...variables],
      ports: [{ name: 'agent', containerPort: port }],
      startupProbe: { httpGet: live, ...STARTUP },
      livenessProbe: { httpGet: live, ...LIVENESS },
      // It closes by an answer: one that is late, on a busy node or in a crowd of clients, closes nothing.
      readinessProbe: {
        httpGet: ready,
        periodSeconds: 1,
        timeoutSeconds: 3,
        failureThreshold: NOT_READY_AFTER[traffic],
      },
      securityContext,
      resources: traffic === 'front' ? WITH_FRONT : WITHOUT_FRONT,
      volumeMounts: [
        { name: 'socket', mountPath: socketDir },
        { name: 'agent-state', mountPath: stateDir },
        { name: 'token', mountPath: TOKEN_DIR, readOnly: true },
      ],
    },
  ] as const
}

/** The user and group of the agent's image, and of LangFlow's official one (whose group is 0). */
const IMAGE_ID = 1000

/**
 * As whom the added containers run, so that agent and launcher share a user or a group, and with it the socket: as LangFlow's
 * user where that is known. Where it is not, or is root, as which nothing of this program runs, LangFlow is given the agent's
 * group. Not by `fsGroup`: that would change who owns LangFlow's volumes. `supplementalGroups`: of the pod; `null`: as they are.
 */
export function userFor(pod: Fields, langflow: Fields) {
  const shared = asFields(pod.securityContext)
  const own = { ...shared, ...asFields(langflow.securityContext) }
  const user = asNumber(own.runAsUser)
  const group = asNumber(own.runAsGroup)
  const groups = asList(shared.supplementalGroups)
  if (user !== null && user !== 0) {
    const runAsGroup = group === null ? {} : { runAsGroup: group }
    return { own: { runAsUser: user, ...runAsGroup }, supplementalGroups: null }
  }
  const agentGroup = (user === 0 ? null : asNumber(shared.runAsGroup)) ?? IMAGE_ID
  const share = shared.fsGroup !== undefined || groups.includes(agentGroup) || group === agentGroup
  return {
    own: user === 0 ? { runAsUser: IMAGE_ID, runAsGroup: IMAGE_ID } : {},
    supplementalGroups: share ? null : [...(groups as number[]), agentGroup],
  }
}
