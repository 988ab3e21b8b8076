import { dirname } from 'node:path'
import { AGENT_SETTINGS } from '../../config/schema.ts'
import { asFields, asList, type Fields } from './manifest.ts'

// The parts of a pod beside LangFlow. `inject` adds them, and test/deploy/pod-spec.test.ts compares `deploy/langflow.yaml` with them.

export const PROGRAM_DIR = '/opt/langflow-leader'
export const SOCKET_DIR = dirname(AGENT_SETTINGS.socket.fallback)
export const TOKEN_DIR = '/var/run/secrets/kubernetes.io/serviceaccount'
export const AGENT_PORT = 8090
export const FRONT_PORT = 8091
/** The name of the port to which Services lead: the front's port in front mode, else LangFlow's. */
export const SERVICE_PORT = 'http'

export const READY_PATH = { readiness: '/readyz', front: '/frontz' } as const
export type Traffic = keyof typeof READY_PATH
/**
 * The failureThreshold of the readiness probe. A closed gate must take effect immediately. A front holds requests, so its pod stays in
 * the endpoints during a warm takeover of 1 to 2 s.
 */
const NOT_READY_AFTER = { readiness: 1, front: 3 } as const

/** The time that a pod gets for its end in addition to draining and stopping, in milliseconds. */
export const GRACE_SPARE_MS = 10_000

/** The words before LangFlow's own command, which make the launcher PID 1. */
export const LAUNCH = [
  `${PROGRAM_DIR}/node`,
  // Any flow can send SIGUSR1, on which Node would start its debugger.
  '--disable-sigusr1',
  `${PROGRAM_DIR}/langflow-leader.mjs`,
  'launch',
  '--',
] as const

/** The mounts of LangFlow's container. They are read-only, so that no flow can replace the socket or the program. */
export const MOUNTS = [
  { name: 'program', mountPath: PROGRAM_DIR, readOnly: true },
  { name: 'socket', mountPath: SOCKET_DIR, readOnly: true },
] as const

const STARTUP = { periodSeconds: 1, failureThreshold: 60 } as const
/** A container that does not answer does not react to SIGTERM either, so the pod's full grace period would be lost time. */
const LIVENESS = { periodSeconds: 5, timeoutSeconds: 3, terminationGracePeriodSeconds: 5 } as const

/** The probes of LangFlow's container. They ask the agent whether the launcher answers, and do not depend on leadership. */
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

/** The agent's variables about its pod. A Deployment's pods have the first hash, a StatefulSet's pods the second. */
const POD_FIELDS = {
  POD_NAME: 'metadata.name',
  POD_UID: 'metadata.uid',
  POD_IP: 'status.podIP',
  POD_TEMPLATE_HASH: "metadata.labels['pod-template-hash']",
  CONTROLLER_REVISION_HASH: "metadata.labels['controller-revision-hash']",
} as const

/** The fields of the Pod Security Standard "restricted" for a container; `RESTRICTED_POD` has the fields for the pod. */
export const RESTRICTED = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
} as const
export const RESTRICTED_POD = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } as const

const WITHOUT_FRONT = { requests: { cpu: '20m', memory: '96Mi' }, limits: { memory: '192Mi' } } as const
/** The front is another process in the agent's container, and its connections need buffers. The limit applies to both processes. */
const WITH_FRONT = { requests: { cpu: '50m', memory: '224Mi' }, limits: { memory: '512Mi' } } as const

interface AgentParts {
  readonly image: string
  readonly securityContext: object
  /** In addition to `POD_FIELDS`. */
  readonly variables: readonly { readonly name: string; readonly value: string }[]
  readonly traffic: Traffic
  readonly port: number
}

export function initContainers(parts: AgentParts) {
  const { image, securityContext, variables, traffic, port } = parts
  const fields = Object.entries(POD_FIELDS).map(([name, fieldPath]) => ({
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
      // The gate closes by an answer with 503. A longer timeout keeps a slow answer, such as on a busy node, from closing it.
      readinessProbe: {
        httpGet: ready,
        periodSeconds: 1,
        timeoutSeconds: 3,
        failureThreshold: NOT_READY_AFTER[traffic],
      },
      securityContext,
      resources: traffic === 'front' ? WITH_FRONT : WITHOUT_FRONT,
      volumeMounts: [
        { name: 'socket', mountPath: SOCKET_DIR },
        { name: 'agent-state', mountPath: AGENT_SETTINGS.stateDir.fallback },
        { name: 'token', mountPath: TOKEN_DIR, readOnly: true },
      ],
    },
  ] as const
}

/** The user and group of the agent's image, and of LangFlow's official one (whose group is 0). */
const IMAGE_ID = 1000

/**
 * The user of the added containers. Agent and launcher share the socket by a common user or group. If the manifest sets LangFlow's user,
 * the agent runs as that user, but never as root. Else LangFlow gets the agent's group. `fsGroup` would change the owner of LangFlow's
 * volumes, so this uses the pod's `supplementalGroups`; `null` leaves its context unchanged.
 */
export function userFor(pod: Fields, langflow: Fields) {
  const shared = asFields(pod.securityContext)
  const { runAsUser, runAsGroup } = { ...shared, ...asFields(langflow.securityContext) }
  if (runAsUser !== undefined && runAsUser !== 0)
    return {
      own: { runAsUser, ...(runAsGroup === undefined ? {} : { runAsGroup }) },
      podContext: null,
    }
  const own = runAsUser === 0 ? { runAsUser: IMAGE_ID, runAsGroup: IMAGE_ID } : {}
  const groups = asList(shared.supplementalGroups)
  const isShared = shared.fsGroup !== undefined || groups.includes(IMAGE_ID)
  return { own, podContext: isShared ? null : { ...shared, supplementalGroups: [...groups, IMAGE_ID] } }
}
