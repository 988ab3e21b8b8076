import type { InjectOptions } from './settings.ts'
import type { User } from './user.ts'
import type { Workload } from './workload.ts'

export const PROGRAM_DIR = '/opt/langflow-leader'
export const SOCKET_DIR = '/run/langflow-leader'
const STATE_DIR = '/var/lib/langflow-leader'
const TOKEN_DIR = '/var/run/secrets/kubernetes.io/serviceaccount'
export const AGENT_PORT = 8090
const LANGFLOW_PORT = 7860

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
export const MOUNTS = [
  { name: 'program', mountPath: PROGRAM_DIR, readOnly: true },
  { name: 'socket', mountPath: SOCKET_DIR, readOnly: true },
] as const

/** Asked of the agent, about the launcher: never about leadership. */
export const STARTUP_PROBE = {
  httpGet: { path: '/workloadz', port: AGENT_PORT },
  periodSeconds: 1,
  failureThreshold: 60,
} as const

export const LIVENESS_PROBE = {
  httpGet: { path: '/workloadz', port: AGENT_PORT },
  periodSeconds: 5,
  timeoutSeconds: 3,
  terminationGracePeriodSeconds: 5,
} as const

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

export function initContainers(workload: Workload, user: User, options: InjectOptions) {
  const securityContext = {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    runAsNonRoot: true,
    ...user.own,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  }
  const install = {
    name: 'install',
    image: options.image,
    args: ['install', PROGRAM_DIR],
    securityContext,
    resources: { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '128Mi' } },
    volumeMounts: [{ name: 'program', mountPath: PROGRAM_DIR }],
  }
  const live = { path: '/livez', port: 'agent' }
  const ready = options.traffic === 'label' ? '/readyz?exclude=leadership' : '/readyz'
  const agent = {
    name: 'agent',
    image: options.image,
    restartPolicy: 'Always',
    args: ['agent'],
    env: environment(workload, options),
    ports: [{ name: 'agent', containerPort: AGENT_PORT }],
    startupProbe: { httpGet: live, periodSeconds: 1, failureThreshold: 60 },
    livenessProbe: { httpGet: live, periodSeconds: 5, timeoutSeconds: 3, terminationGracePeriodSeconds: 5 },
    readinessProbe: {
      httpGet: { path: ready, port: 'agent' },
      periodSeconds: 1,
      timeoutSeconds: 3,
      failureThreshold: 1,
    },
    securityContext,
    resources: { requests: { cpu: '20m', memory: '96Mi' }, limits: { memory: '192Mi' } },
    volumeMounts: [
      { name: 'socket', mountPath: SOCKET_DIR },
      { name: 'agent-state', mountPath: STATE_DIR },
      { name: 'token', mountPath: TOKEN_DIR, readOnly: true },
    ],
  }
  return [install, agent]
}

function environment({ names, port }: Workload, { standby, traffic }: InjectOptions) {
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } })
  const said = (name: string, value: string, unless = '') => (value === unless ? [] : [{ name, value }])
  return [
    field('POD_NAME', 'metadata.name'),
    field('POD_UID', 'metadata.uid'),
    field('POD_IP', 'status.podIP'),
    field('POD_TEMPLATE_HASH', "metadata.labels['pod-template-hash']"),
    field('CONTROLLER_REVISION_HASH', "metadata.labels['controller-revision-hash']"),
    ...said('LEADER_PEERS', `${names.members}:${AGENT_PORT}`),
    ...said('LEADER_LEASE_NAME', names.lease),
    ...said('LEADER_TARGET', `http://127.0.0.1:${port}`, `http://127.0.0.1:${LANGFLOW_PORT}`),
    ...said('LEADER_STANDBY', standby, 'cold'),
    ...said('LEADER_TRAFFIC', traffic, 'readiness'),
  ]
}
