import type { Facts } from '../../../agent/cli/check/rule.ts'

import {
  dropMount,
  dropVariable,
  type Loose,
  type ManifestSet,
  mountOf,
  setVariable,
  setVolume,
  volumeOf,
} from './manifest-set.ts'
import type { Base } from './sound-manifests.ts'

/**
 * One mistake, and what `check` finds in it beside the findings of its base. If its severity is not that of its rule, docs/check.md has
 * its name.
 */
export interface Mistake {
  readonly name: string
  readonly code: string
  readonly severity: 'error' | 'warning' | 'unknown'
  /** The object of the finding; undefined for the workload of the base. */
  readonly object?: string | null
  readonly base: Base
  readonly edit: (manifests: ManifestSet) => unknown
  /** What a cluster adds to the facts. */
  readonly facts: Partial<Facts>
  /** The codes of other rules with a finding for the same mistake. */
  readonly also: readonly string[]
}

type Options = Partial<Pick<Mistake, 'object' | 'base' | 'also' | 'facts'>>

const mistake =
  (severity: Mistake['severity']) =>
  (code: string, name: string, edit: Mistake['edit']): Mistake => ({
    ...{ name, code, severity, edit, base: 'production', also: [], facts: {} },
  })
const having = (options: Options, rows: readonly Mistake[]) => rows.map((row) => ({ ...row, ...options }))

const error = mistake('error')
const warning = mistake('warning')
const unknown = mistake('unknown')

const agentHas = (name: string, value: string | object) => (m: ManifestSet) =>
  setVariable(m.agent, name, value)
const langflowHas = (name: string, value: object) => (m: ManifestSet) => setVariable(m.langflow, name, value)

const { assign } = Object
const omit = (of: Loose, key: string) => delete of[key]

/** The words behind the launcher. */
const SHELL = ['/bin/bash', '-c']

const asking = (path: string, port: number | string) => ({
  httpGet: { path, port },
  periodSeconds: 5,
  timeoutSeconds: 3,
})

const DNS = '{ ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }] }'
const API = '{ ports: [{ port: 443 }, { port: 6443 }] }'
const REPLICAS =
  '{ to: [{ podSelector: { matchLabels: { app.kubernetes.io/name: langflow } } }], ports: [{ port: 8090 }, { port: 8091 }] }'

const REFUSAL = { message: 'x', of: { kind: 'Service', name: 'langflow', value: {} } }

export const MISTAKES: readonly Mistake[] = [
  error('agent-settings', 'a variable has a typo', agentHas('LEADER_LEASE_DURATON', '15s')),
  error('agent-settings', 'failsafe has no --peers', (m) => {
    setVariable(m.agent, 'LEADER_FAILSAFE', 'peers')
    dropVariable(m.agent, 'LEADER_PEERS')
  }),
  warning('replicas', 'failsafe has no second replica', (m) => {
    setVariable(m.agent, 'LEADER_FAILSAFE', 'peers')
    m.workload.spec.replicas = 1
  }),
  error('langflow-settings', 'LangFlow has four workers and no Redis', (m) =>
    setVariable(m.langflow, 'LANGFLOW_WORKERS', '4'),
  ),
  error('langflow-settings', 'a flag sets one worker for each CPU', (m) => {
    setVariable(m.langflow, 'LANGFLOW_WORKERS', '1')
    m.langflow.args.push('--workers', '-1')
  }),
  unknown('langflow-settings', 'the queue of two workers is in a Secret elsewhere', (m) => {
    m.langflow.args.push('--workers=2')
    setVariable(m.langflow, 'LANGFLOW_JOB_QUEUE_TYPE', { secretKeyRef: { name: 'redis', key: 'type' } })
  }),
  ...['user:p@ss@host/db', 'user:p/ss@host/db', 'user:p#ss@host/db', 'us/er:pass@host/db', 'host/db\n'].map(
    (rest) =>
      error('database-shared', `the URL is postgresql://${JSON.stringify(rest)}`, (m) => {
        m.secret['database-url'] = `postgresql://${rest}`
      }),
  ),
  ...[
    'until curl -sf localhost:7860/health; do sleep 1; done',
    'while ! nc -z 127.0.0.1 7860; do :; done',
  ].map((script) =>
    error('langflow-probes', `the postStart hook runs ${script}`, (m) => {
      m.langflow.lifecycle = { postStart: { exec: { command: ['sh', '-c', script] } } }
    }),
  ),
  error('langflow-probes', "a postStart hook asks LangFlow's port", (m) => {
    m.langflow.lifecycle = { postStart: asking('/health', 7860) }
  }),
  warning('agent-target', 'the fronts can be bypassed', (m) => {
    m.langflow.args = ['langflow', 'run', '--host', '0.0.0.0', '--port', '7860']
  }),
  warning('agent-sidecar', 'agent and LangFlow are one container', (m) => {
    m.langflow.command = ['langflow-leader', 'run', '--', ...m.langflow.args]
    m.langflow.args = []
    m.langflow.env.push(...m.agent.env)
    m.langflow.volumeMounts = m.agent.volumeMounts
    m.langflow.ports.push(...m.agent.ports)
    for (const probe of ['readinessProbe', 'livenessProbe', 'startupProbe'])
      m.langflow[probe] = m.agent[probe]
    m.pod.initContainers = []
  }),
  unknown('launcher-first', 'the command of the launcher is in another form', (m) => {
    const run = m.langflow.args.join(' ')
    m.langflow.command = ['sh', '-c', `exec /opt/langflow-leader/langflow-leader.mjs launch -- ${run}`]
    m.langflow.args = []
  }),
  error('standby-command', 'a script does more than set variables', (m) => {
    m.langflow.args = [...SHELL, 'curl -O https://example.com/a.json; langflow run --host 127.0.0.1']
  }),
  error('database-exclusive', 'two namespaces have a Lease each, and one database by the same URL', (m) => {
    m.secret['database-url'] = 'postgresql://user:password@db.example.org/langflow'
    m.intoNamespace('team-a')
    m.addCopy('team-b')
  }),
  error('database-shared', 'LangFlow has no database', (m) =>
    dropVariable(m.langflow, 'LANGFLOW_DATABASE_URL'),
  ),
  unknown('database-shared', 'a proxy to the database is a native sidecar', (m) => {
    setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://user:password@127.0.0.1/langflow')
    m.pod.initContainers.push({ name: 'proxy', image: 'proxy:1', restartPolicy: 'Always' })
  }),
  unknown('database-shared', 'each pod has its own PostgreSQL as a sidecar', (m) => {
    m.secret['database-url'] = 'postgresql://user:password@localhost/langflow'
    m.pod.containers.push({ name: 'postgresql', image: 'postgres:18', ports: [{ containerPort: 5432 }] })
  }),
  error('database-shared', 'the database is a SQLite file in each pod', (m) => {
    m.secret['database-url'] = 'sqlite:////app/data/langflow.db'
  }),
  error('other-containers', "an init container runs LangFlow's migration before any replica leads", (m) => {
    m.pod.initContainers.push({
      name: 'migrate',
      image: m.langflow.image,
      command: ['langflow', 'migration', '--fix'],
      env: structuredClone(m.langflow.env),
    })
  }),
  warning('lease-object', 'the Lease has another name than the agent reads', (m) => {
    m.get('Lease').metadata.name = 'langflow-leader'
  }),
  warning('lease-object', 'the namespace of the Lease is not the namespace of the agent', (m) => {
    m.intoNamespace('langflow')
    m.get('Lease').metadata.namespace = 'default'
  }),
  error('agent-rights', 'the Role names another Lease', (m) => {
    m.get('Role').rules[0].resourceNames = ['langflow-lock']
  }),
  error('agent-rights', 'the Role is missing', (m) => m.drop('Role')),
  error('agent-rights', 'the RoleBinding is missing', (m) => m.drop('RoleBinding')),
  warning('agent-rights', 'the Role creates no Lease', (m) => {
    m.get('Role').rules.splice(1, 1)
  }),
  warning('agent-rights', 'the Role lacks Events', (m) => {
    m.get('Role').rules[2].apiGroups = ['']
  }),
  warning('agent-rights', 'the Role lacks pods/status', (m) => {
    m.agent.env!.push({ name: 'LEADER_REPORT_LOST_PODS', value: 'true' })
  }),
  error('agent-rights', 'patch is granted instead of update', (m) => {
    m.get('Role').rules[0].verbs = ['get', 'list', 'watch', 'patch']
  }),
  error('agent-rights', 'the binding is for another account', (m) => {
    m.get('RoleBinding').subjects[0].name = 'langflow'
  }),
  unknown('peers', 'LEADER_PEERS has a typo', agentHas('LEADER_PEERS', 'langflow-member:8090')),
  error('peers', "LEADER_PEERS has the users' Service", agentHas('LEADER_PEERS', 'langflow:7860')),
  error('peers', "LEADER_PEERS has the front's port", agentHas('LEADER_PEERS', 'langflow-members:8091')),
  error('peers', 'LEADER_PEERS has a Service of another namespace', (m) => {
    m.intoNamespace('langflow')
    setVariable(m.agent, 'LEADER_PEERS', 'langflow-members.other.svc:8090')
  }),
  warning('peers', 'there is no LEADER_PEERS', (m) => {
    dropVariable(m.agent, 'LEADER_PEERS')
    dropVariable(m.agent, 'LEADER_FAILSAFE')
  }),
  error('agent-token', 'the mount of the token is missing', (m) => dropMount(m.agent, 'token')),
  error('agent-token', 'the token is for another audience than the API server', (m) => {
    volumeOf(m.pod, 'token').projected.sources[0].serviceAccountToken.audience = 'vault'
  }),
  error('agent-token', 'the token is mounted at the parent directory', (m) => {
    mountOf(m.agent, 'token').mountPath = '/var/run/secrets/kubernetes.io'
  }),
  error('token-beside-flows', "the token is mounted into LangFlow's container, too", (m) =>
    m.langflow.volumeMounts.push(structuredClone(mountOf(m.agent, 'token'))),
  ),
  error('token-beside-flows', "LangFlow's container mounts a token of its own for the API server", (m) => {
    langflowMounts(m, { projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } })
  }),
  error('token-beside-flows', "LangFlow's container mounts a Secret with the account's token", (m) => {
    langflowMounts(m, { secret: { secretName: tokenSecret(m) } })
  }),
  error('token-beside-flows', "a projected volume has a Secret with the account's token", (m) => {
    langflowMounts(m, { projected: { sources: [{ secret: { name: tokenSecret(m) } }] } })
  }),
  error('token-beside-flows', "a variable of LangFlow has the account's token", (m) =>
    setVariable(m.langflow, 'TOKEN', { secretKeyRef: { name: tokenSecret(m), key: 'token' } }),
  ),
  error('token-beside-flows', "envFrom has a Secret with the account's token", (m) => {
    m.langflow.envFrom = [{ secretRef: { name: tokenSecret(m) } }]
  }),
  error('token-beside-flows', 'every container gets a token by automountServiceAccountToken', (m) => {
    m.pod.automountServiceAccountToken = true
  }),
  error('token-beside-flows', 'neither the pod nor its account turn off the automatic token', (m) => {
    delete m.pod.automountServiceAccountToken
    delete m.get('ServiceAccount').automountServiceAccountToken
  }),
  warning('agent-sidecar', 'the agent is an ordinary container', (m) => {
    const { restartPolicy: _r, ...agent } = m.agent
    m.pod.initContainers = [m.install]
    m.pod.containers.push(agent)
  }),
  error('agent-sidecar', 'the agent is missing', (m) => assign(m.pod, { initContainers: [m.install] })),
  error('launcher-first', 'LangFlow runs without the launcher', (m) => omit(m.langflow, 'command')),
  error('launcher-first', "tini is PID 1 of LangFlow's container, not the launcher", (m) => {
    m.langflow.command = ['/opt/langflow-leader/tini', '--', ...m.langflow.command]
  }),
  error('agent-settings', 'the launcher has no command to start', (m) => assign(m.langflow, { args: [] })),
  error('agent-settings', 'POD_IP is missing', (m) => dropVariable(m.agent, 'POD_IP')),
  error('pod-namespaces', 'the pod shares its process namespace', (m) => {
    m.pod.shareProcessNamespace = true
  }),
  error('pod-namespaces', "the pod has the node's processes", (m) => assign(m.pod, { hostPID: true })),
  error('pod-namespaces', "the pod has the node's network", (m) => assign(m.pod, { hostNetwork: true })),
  error('langflow-privileges', "LangFlow's container is privileged", (m) => {
    m.langflow.securityContext = { privileged: true, runAsUser: 0, runAsNonRoot: false }
  }),
  error('langflow-privileges', "LangFlow's container may trace any process", (m) => {
    m.langflow.securityContext = { runAsUser: 0, runAsNonRoot: false, capabilities: { add: ['SYS_PTRACE'] } }
  }),
  warning('langflow-privileges', 'LangFlow runs as root', (m) => {
    m.langflow.securityContext = { runAsUser: 0, runAsNonRoot: false }
  }),
  warning('langflow-privileges', 'LangFlow has capabilities, but is not root', (m) => {
    m.langflow.securityContext = { runAsUser: 1000, capabilities: { add: ['ALL'] } }
  }),
  unknown('langflow-privileges', "only LangFlow's image sets its user", (m) => {
    delete m.pod.securityContext
    assign(m.langflow, { image: 'registry.example.org/flows:1', securityContext: {} })
  }),
  error('langflow-privileges', "LangFlow's container can reach the node's other containers", (m) =>
    langflowMounts(m, { hostPath: { path: '/run/containerd' } }),
  ),
  error('agent-settings', "another container has the agent's port", (m) =>
    m.pod.containers.push({ name: 'proxy', image: 'proxy:1', ports: [{ containerPort: 8090 }] }),
  ),
  warning('agent-sidecar', 'install and agent have different images', (m) =>
    assign(m.install, { image: 'x:1' }),
  ),
  warning('standby-command', 'the directory of the configuration is read-only', (m) => {
    mountOf(m.langflow, 'langflow-state').readOnly = true
  }),
  error('langflow-mounts', 'the pod has two agents after inject ran twice', (m) => {
    const second = structuredClone(m.agent)
    second.name = 'agent-2'
    m.pod.initContainers.push(second)
  }),
  error('langflow-mounts', "the agent's volume was removed, and its mount was not", (m) => {
    m.pod.volumes = m.pod.volumes.filter(({ name }: Loose) => name !== 'agent-state')
  }),
  error('langflow-mounts', "the agent doesn't mount the socket", (m) => dropMount(m.agent, 'socket')),
  error('langflow-mounts', 'agent and launcher have a volume each for the socket', (m) => {
    m.pod.volumes.push({ name: 'socket-2', emptyDir: {} })
    mountOf(m.langflow, 'socket').name = 'socket-2'
  }),
  error('langflow-mounts', 'a flow can replace the socket', (m) => {
    delete mountOf(m.langflow, 'socket').readOnly
  }),
  error('langflow-mounts', 'a flow can replace the launcher', (m) => {
    mountOf(m.langflow, 'program').readOnly = false
  }),
  error('langflow-mounts', "the agent's state is mounted into LangFlow's container", (m) =>
    m.langflow.volumeMounts.push({ name: 'agent-state', mountPath: '/var/lib/langflow-leader' }),
  ),
  error('langflow-mounts', 'the sockets of all replicas are on one volume', (m) => {
    setVolume(m.pod, 'socket', { persistentVolumeClaim: { claimName: 'sockets' } })
    m.add(claim('sockets', 'ReadWriteMany'))
  }),
  error('agent-probes', 'the agent has no readiness probe, so that every pod is Ready', (m) => {
    delete m.agent.readinessProbe
  }),
  error('agent-probes', 'the readiness probe asks the front, not the agent', (m) => {
    m.agent.readinessProbe.httpGet.port = 8091
  }),
  error('agent-probes', 'the probes name a port that the container has no more', (m) => {
    m.agent.ports = []
  }),
  error('agent-probes', 'the readiness probe asks /readyz in front mode', (m) => {
    m.agent.readinessProbe.httpGet.path = '/readyz'
  }),
  error('langflow-probes', "LangFlow's liveness probe waits for leadership", (m) => {
    m.langflow.livenessProbe = asking('/readyz', 8090)
  }),
  warning('langflow-probes', 'LangFlow has no livenessProbe', (m) => {
    delete m.langflow.livenessProbe
  }),
  error('langflow-probes', "a liveness probe kills every standby, because it asks LangFlow's port", (m) => {
    m.langflow.livenessProbe = asking('/health', 7860)
  }),
  error('grace-period', 'the pod has only the default of 30 s for its end', (m) => {
    delete m.pod.terminationGracePeriodSeconds
  }),
  error('grace-period', 'the drain timeout was raised', agentHas('LEADER_DRAIN_TIMEOUT', '2m')),
  error('grace-period', 'the hold timeout was raised', agentHas('LEADER_HOLD_TIMEOUT', '2m')),
  error('grace-period', 'the quiet timeout was raised', agentHas('LEADER_QUIET_TIMEOUT', '2m')),
  error('grace-period', "a preStop hook of LangFlow's container uses up the grace period", (m) => {
    m.langflow.lifecycle = { preStop: { sleep: { seconds: 60 } } }
  }),
  error('agent-identity', 'the identity is a text', agentHas('LEADER_IDENTITY', 'langflow')),
  error('agent-identity', 'every replica has the same identity by a flag', (m) => {
    m.agent.args = ['agent', '--identity=langflow']
  }),
  error('agent-identity', 'POD_NAME is a text', (m) => setVariable(m.agent, 'POD_NAME', 'langflow')),
  error(
    'agent-identity',
    'POD_UID is the name of the pod',
    agentHas('POD_UID', { fieldRef: { fieldPath: 'metadata.name' } }),
  ),
  error('hold-timeout', 'the start timeout is too short', agentHas('LEADER_START_TIMEOUT', '10s')),
  error('hold-timeout', 'front mode holds requests for 30 s, and a cold standby starts in 37 s', (m) =>
    dropVariable(m.agent, 'LEADER_STANDBY'),
  ),
  error('hold-timeout', 'a longer lease duration exceeds the hold timeout', (m) => {
    setVariable(m.agent, 'LEADER_LEASE_DURATION', '60s')
    setVariable(m.agent, 'LEADER_RENEW_DEADLINE', '40s')
  }),
  error('agent-target', 'the port was changed alone', (m) => {
    m.langflow.args = ['langflow', 'run', '--host', '127.0.0.1', '--port', '7861']
  }),
  error('agent-target', 'LangFlow listens on an address that the agent does not ask', (m) => {
    m.langflow.args = ['langflow', 'run', '--host', '10.0.0.1', '--port', '7860']
  }),
  error('agent-target', "a variable sets LangFlow's address", (m) => {
    m.langflow.args = ['langflow', 'run', '--port', '7860']
    setVariable(m.langflow, 'LANGFLOW_HOST', '10.0.0.1')
  }),
  error('secret-key', 'the secret key is missing', (m) => dropVariable(m.langflow, 'LANGFLOW_SECRET_KEY')),
  error('secret-key', 'the secret key has 16 bytes too many', (m) => {
    m.secret['secret-key'] = Buffer.from('k'.repeat(48)).toString('base64url')
  }),
  error('secret-key', 'the secret key is empty', (m) => assign(m.secret, { 'secret-key': '' })),
  error(
    'secret-key',
    "it is the pod's UID",
    langflowHas('LANGFLOW_SECRET_KEY', { fieldRef: { fieldPath: 'metadata.uid' } }),
  ),
  unknown('secret-key', 'the Secret lacks the key of the secret key', (m) => omit(m.secret, 'secret-key')),
  warning('local-files', 'the uploads are local files', (m) =>
    dropVariable(m.langflow, 'LANGFLOW_STORAGE_TYPE'),
  ),
  warning('local-files', 'the volume for uploads is not where LangFlow writes them', (m) => {
    setVariable(m.langflow, 'LANGFLOW_STORAGE_TYPE', 'local')
    m.pod.volumes.push({ name: 'files', persistentVolumeClaim: { claimName: 'langflow-files' } })
    m.langflow.volumeMounts.push({ name: 'files', mountPath: '/data' })
    m.add(claim('langflow-files', 'ReadWriteMany'))
  }),
  warning('local-files', "the uploads are in a directory of the pod's node", (m) => {
    setVariable(m.langflow, 'LANGFLOW_STORAGE_TYPE', 'local')
    setVolume(m.pod, 'langflow-state', { hostPath: { path: '/var/lib/langflow' } })
  }),
  unknown('volume-shared', 'a volume of all replicas is claimed elsewhere', (m) => {
    setVolume(m.pod, 'langflow-state', { persistentVolumeClaim: { claimName: 'langflow-files' } })
  }),
  warning('replicas', 'no replica could take over, because there is only one', (m) => {
    m.workload.spec.replicas = 1
  }),
  warning('replicas', 'the number of replicas is absent, so there is only one', (m) => {
    delete m.workload.spec.replicas
  }),
  warning('agent-cpu-limit', 'the agent has a CPU limit, so that it may be throttled at a renewal', (m) => {
    m.agent.resources.limits.cpu = '100m'
  }),
  ...having({ object: 'Service/langflow', facts: { refusals: [REFUSAL] } }, [
    error('objects-valid', 'the API server refuses an object', () => {}),
  ]),
  warning('rollout-strategy', 'the strategy is Recreate', (m) => {
    m.workload.spec.strategy = { type: 'Recreate' }
  }),
  warning('rollout-strategy', 'a rollout ends all pods together', (m) => {
    m.workload.spec.strategy.rollingUpdate = { maxSurge: 0, maxUnavailable: 2 }
  }),
  ...having({ also: ['replicas'] }, [
    warning('secret-key', 'the only replica has no key', (m) => {
      m.workload.spec.replicas = 1
      dropVariable(m.langflow, 'LANGFLOW_SECRET_KEY')
    }),
  ]),
  ...having({ facts: { refusals: null } }, [
    unknown('objects-valid', 'no API server has validated the objects', () => {}),
  ]),
  ...having({ object: 'Deployment/staging' }, [
    error('lease-shared', 'the namePrefix of a second installation did not reach LEADER_LEASE_NAME', (m) => {
      const staging = m.addTwin('staging')
      dropVariable(staging.agent, 'LEADER_LEASE_NAME')
      m.get('Role', 'staging-leader').rules[0].resourceNames = ['langflow-leader-lock']
    }),
    error('database-exclusive', 'two Leases, and one database with other options in the URL', (m) => {
      m.addTwin('staging').secret['database-url'] =
        'postgresql://user:password@host/langflow?sslmode=require&connect_timeout=5'
    }),
    error('database-exclusive', 'two Leases, and one database with another driver in the URL', (m) => {
      m.addTwin('staging').secret['database-url'] = 'postgresql+psycopg://user:password@HOST:5432/langflow'
    }),
  ]),
  ...having({ object: 'Deployment/langflow-copy' }, [
    error('lease-shared', 'a copy of the Deployment has another name and the same Lease', (m) => {
      const copy = structuredClone(m.workload)
      copy.metadata.name = 'langflow-copy'
      m.objects.push(copy)
    }),
  ]),
  ...having({ object: 'Deployment/staging', also: ['database-shared'] }, [
    error('database-exclusive', 'two Leases, and one database by a Secret outside the stream', (m) => {
      const staging = m.addTwin('staging')
      for (const { langflow } of [m, staging])
        setVariable(langflow, 'LANGFLOW_DATABASE_URL', { secretKeyRef: { name: 'shared', key: 'url' } })
    }),
  ]),
  ...having({ base: 'smallest' }, [
    unknown('database-shared', 'the optional key of the database is missing in the Secret', (m) => {
      delete m.secret['database-url']
    }),
    error('agent-probes', 'the readiness probe only opens a TCP connection', (m) => {
      m.agent.readinessProbe = { tcpSocket: { port: 8090 } }
    }),
    error('agent-probes', 'the readiness probe counts followers in readiness mode', (m) => {
      m.agent.readinessProbe.httpGet.path = '/readyz?exclude=leadership'
    }),
    warning('agent-probes', 'the gate closes after 3 s', (m) => {
      m.agent.readinessProbe = { httpGet: { path: '/readyz', port: 'agent' } }
    }),
    error('agent-probes', 'the liveness probe of the agent restarts every follower', (m) => {
      m.agent.livenessProbe.httpGet.path = '/readyz'
    }),
    error('rollout-strategy', 'in readiness mode, a surge waits forever for a second Ready pod', (m) => {
      m.workload.spec.strategy.rollingUpdate = { maxSurge: 1, maxUnavailable: 0 }
    }),
    error('rollout-strategy', 'with three replicas in readiness mode, only one may be unavailable', (m) => {
      m.workload.spec.replicas = 3
      m.workload.spec.strategy.rollingUpdate = { maxSurge: 0, maxUnavailable: '34%' }
    }),
  ]),
  ...having({ base: 'stateful-set' }, [
    error('database-shared', 'each pod has its own database by its name', (m) => {
      m.langflow.env.unshift({ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } })
      setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://user:password@host/$(POD_NAME)')
    }),
    warning('rollout-strategy', 'a StatefulSet of two is OrderedReady', (m) => {
      delete m.workload.spec.podManagementPolicy
    }),
    error('rollout-strategy', 'an ordered StatefulSet in readiness mode never gets its third pod', (m) => {
      m.workload.spec.replicas = 3
      m.workload.spec.updateStrategy.rollingUpdate.maxUnavailable = 2
      delete m.workload.spec.podManagementPolicy
    }),
  ]),
  ...having({ base: 'injected', also: ['replicas'] }, [
    error('database-shared', 'a Deployment scaled to 0 for inject has no database', (m) => {
      m.workload.spec.replicas = 0
      delete m.secret.LANGFLOW_DATABASE_URL
    }),
    error('database-shared', 'an autoscaler sets the number of replicas, which have no database', (m) => {
      m.workload.spec.replicas = 1
      delete m.secret.LANGFLOW_DATABASE_URL
      m.add(autoscaler(m, 2, 4))
    }),
  ]),
  ...having({ base: 'injected' }, [
    error(
      'database-shared',
      "a chart's script builds the database URL of a variable that is not set",
      (m) => {
        delete m.secret.LANGFLOW_DATABASE_URL
        startBy(
          m,
          'if [ -n "$DRIVER" ]; then export LANGFLOW_DATABASE_URL="$DRIVER://$DB_HOST/app"; fi && langflow run --host 0.0.0.0 --port 7860',
        )
      },
    ),
    error('rollout-strategy', 'in readiness mode, the default strategy waits forever', (m) => {
      delete m.workload.spec.strategy
    }),
  ]),
  ...having({ object: null }, [
    error('langflow-found', 'a Job runs LangFlow with the same database', (m) =>
      m.objects.push(job(m, 'Job', ['langflow', 'run', '--backend-only'])),
    ),
    error('langflow-found', 'a second container of the pod runs LangFlow without the launcher', (m) => {
      m.pod.containers.push({
        name: 'langflow-worker',
        image: m.langflow.image,
        command: ['langflow', 'run', '--backend-only', '--port', '7900'],
        env: structuredClone(m.langflow.env),
      })
    }),
  ]),
  ...having({ object: 'CronJob/seed' }, [
    error('other-containers', "a CronJob runs LangFlow's migration of the same database", (m) =>
      m.objects.push(job(m, 'CronJob', ['langflow', 'migration', '--fix'])),
    ),
  ]),
  ...having({ object: 'Lease/langflow-leader-lock' }, [
    error('lease-object', 'each upgrade deletes it', (m) => {
      m.get('Lease').metadata.annotations = { 'helm.sh/hook': 'pre-upgrade' }
    }),
    error('lease-object', 'it has a holder', (m) => {
      m.get('Lease').spec = { holderIdentity: 'langflow-0_1', leaseDurationSeconds: 15 }
    }),
  ]),
  ...having({ object: 'Service/langflow-members' }, [
    error('peers', 'the second installation asks the agents of the first', (m) =>
      setVariable(m.addTwin('staging').agent, 'LEADER_PEERS', 'langflow-members:8090'),
    ),
    error('peers', 'the members Service has a cluster IP', (m) => omit(m.members.spec, 'clusterIP')),
    error('service-leader', "the members' Service leads to the port of the front", (m) => {
      m.members.spec.ports[0].targetPort = 8091
    }),
  ]),
  ...having({ object: 'Service/langflow-members', base: 'smallest' }, [
    error('peers', 'the members Service lacks the followers, which are not Ready', (m) => {
      delete m.members.spec.publishNotReadyAddresses
    }),
  ]),
  ...having({ object: 'Service/langflow' }, [
    error('service-leader', 'the Service selects the pods of another workload', (m) => {
      m.service.spec.selector = { app: 'other' }
    }),
    error('service-leader', 'the targetPort is a name that no container has', (m) => {
      m.service.spec.ports[0].targetPort = 'web'
    }),
    warning('service-leader', 'the Service is headless', (m) => {
      m.service.spec.clusterIP = 'None'
      m.service.spec.ports[0].targetPort = 7860
    }),
    error('service-leader', 'the Service bypasses the front', (m) => {
      m.service.spec.ports[0].targetPort = 7860
    }),
    error('service-leader', 'the Service has no targetPort, so that its port bypasses the front', (m) => {
      delete m.service.spec.ports[0].targetPort
    }),
    error('service-leader', "the port named http is still LangFlow's in front mode", (m) => {
      m.langflow.ports = [{ name: 'http', containerPort: 7860 }]
    }),
  ]),
  ...having({ object: 'Service/langflow' }, [
    error('langflow-settings', "Kubernetes sets LANGFLOW_PORT to the Service's URL", (m) => {
      delete m.pod.enableServiceLinks
    }),
    warning('network-policy', 'no policy admits the clients of a LoadBalancer', (m) => {
      m.service.spec.type = 'LoadBalancer'
    }),
  ]),
  ...having({ object: 'Ingress/langflow' }, [
    error('service-leader', 'an Ingress names a port that the Service does not have', (m) =>
      m.add(ingress('langflow', 'number: 8080')),
    ),
    error('service-leader', "an Ingress still has the Service's old name", (m) => {
      m.service.metadata.name = 'web'
      m.add(ingress('langflow', 'name: http'))
    }),
    unknown('service-leader', 'an Ingress leads to a Service of another stream', (m) =>
      m.add(ingress('oauth2-proxy', 'number: 80')),
    ),
  ]),
  ...having({ object: 'HTTPRoute/langflow' }, [
    error('service-leader', 'an HTTPRoute names a port that the Service does not have', (m) =>
      m.add(httpRoute('langflow', 80)),
    ),
  ]),
  ...having({ object: 'Service/langflow', base: 'smallest' }, [
    error('service-leader', 'the Service for users also has the pods that are not Ready', (m) => {
      m.service.spec.publishNotReadyAddresses = true
    }),
  ]),
  ...having({ also: ['agent-probes'] }, [
    error('agent-sidecar', 'the agent is an init container without restartPolicy', (m) => {
      // The API server refuses probes of such a container.
      for (const field of ['restartPolicy', 'startupProbe', 'livenessProbe', 'readinessProbe'])
        delete m.agent[field]
    }),
  ]),
  ...having({ object: 'NetworkPolicy/langflow' }, [
    error(
      'network-policy',
      'the front listens on another port than the Service has',
      agentHas('LEADER_FRONT_LISTEN', ':8092'),
    ),
  ]),
  ...having({ object: 'NetworkPolicy/langflow' }, [
    error('network-policy', 'a policy lets no replica ask another for consent (failsafe)', (m) => {
      setVariable(m.agent, 'LEADER_FAILSAFE', 'peers')
      const { ingress } = m.get('NetworkPolicy').spec
      ingress[1].ports = [{ port: 8091 }]
      ingress[2].from = [{ podSelector: { matchLabels: { app: 'prometheus' } } }]
    }),
    unknown('network-policy', 'the replicas reach each other by a label of their namespace', (m) => {
      const [, peers] = m.get('NetworkPolicy').spec.ingress
      peers.from = [{ namespaceSelector: { matchLabels: { 'example.org/allow-ingress': 'flows' } } }]
    }),
  ]),
  ...having({ object: 'NetworkPolicy/default-deny' }, [
    error('network-policy', 'a policy of the namespace denies all ingress', (m) => {
      const policy = m.get('NetworkPolicy')
      policy.metadata.name = 'default-deny'
      policy.spec = { podSelector: {}, policyTypes: ['Ingress'] }
    }),
  ]),
  ...having({ object: 'NetworkPolicy/langflow-egress' }, [
    error('network-policy', 'egress does not reach the API server', (m) =>
      m.add(egress([DNS, '{ ports: [{ port: 5432 }] }', REPLICAS])),
    ),
    error('network-policy', 'egress does not reach DNS', (m) => m.add(egress([API, REPLICAS]))),
    error('network-policy', 'egress does not reach the replicas', (m) => m.add(egress([API, DNS]))),
  ]),
  ...having({ also: ['database-shared', 'local-files'] }, [
    unknown('secret-key', 'LangFlow reads an env file of its own', (m) =>
      m.langflow.args.push('--env-file', '/app/data/.env'),
    ),
  ]),
  ...having({ object: 'PersistentVolumeClaim/cache' }, [
    error('volume-shared', 'all replicas mount one ReadWriteOnce volume', (m) => {
      m.pod.volumes.push({ name: 'cache', persistentVolumeClaim: { claimName: 'cache' } })
      m.langflow.volumeMounts.push({ name: 'cache', mountPath: '/cache' })
      m.add(claim('cache', 'ReadWriteOnce'))
    }),
  ]),
  ...having({ object: 'PodDisruptionBudget/smallest', base: 'smallest' }, [
    error('disruption-budget', 'a budget blocks every eviction', (m) =>
      m.add(budget('smallest', 'minAvailable: 1')),
    ),
    error('disruption-budget', 'a budget by maxUnavailable blocks every eviction', (m) =>
      m.add(budget('smallest', 'maxUnavailable: 1')),
    ),
  ]),
  ...having({ object: 'PodDisruptionBudget/production', also: ['replicas'] }, [
    error('disruption-budget', 'a budget needs two Ready pods, and an autoscaler may leave two', (m) => {
      delete m.workload.spec.replicas
      m.add(autoscaler(m, 2, 5))
      m.drop('PodDisruptionBudget')
      m.add(budget('production', 'minAvailable: 2'))
    }),
  ]),
  ...having({ object: 'PodDisruptionBudget/everything' }, [
    error('disruption-budget', 'a second budget of another team selects the same pods', (m) => {
      const second = structuredClone(m.get('PodDisruptionBudget'))
      second.metadata.name = 'everything'
      second.spec.selector = {}
      m.objects.push(second)
    }),
  ]),
  ...having({ object: 'HorizontalPodAutoscaler/langflow' }, [
    warning('replicas', 'an autoscaler adds replicas, which only wait', (m) => m.add(autoscaler(m, 2, 5))),
    warning('replicas', 'an autoscaler may leave only one replica', (m) => m.add(autoscaler(m, 1, 3))),
  ]),
  ...having({ object: 'ScaledObject/langflow' }, [
    warning('replicas', 'KEDA may scale to zero', (m) =>
      m.add(
        '{ kind: ScaledObject, metadata: { name: langflow }, spec: { scaleTargetRef: { name: langflow }, maxReplicaCount: 2 } }',
      ),
    ),
  ]),
  ...having({ object: 'Deployment/custom' }, [
    error(
      'database-exclusive',
      'a Deployment with an image of its own has the same database, and no agent',
      (m) => {
        const custom = structuredClone(m.workload)
        custom.metadata.name = 'custom'
        const { env } = m.langflow
        custom.spec.template.spec = {
          containers: [{ name: 'app', image: 'flows:1', command: ['uvicorn'], env }],
        }
        m.objects.push(custom)
      },
    ),
  ]),
  ...having({ also: ['agent-rights', 'lease-object'] }, [
    error('lease-shared', 'each pod has a Lease of its own', agentHas('LEADER_LEASE_NAME', '$(POD_NAME)')),
  ]),
]

function startBy(m: ManifestSet, script: string): void {
  m.langflow.command = [...m.langflow.command.slice(0, 5), ...SHELL, script]
}

/** Mounts a volume with this source into LangFlow's container. */
export function langflowMounts(m: ManifestSet, source: object): void {
  m.pod.volumes.push({ name: 'api', ...source })
  m.langflow.volumeMounts.push({ name: 'api', mountPath: '/api', readOnly: true })
}

/** Adds a Secret whose token the API server accepts, and returns its name. */
export function tokenSecret(m: ManifestSet, account = m.pod.serviceAccountName): string {
  m.objects.push({
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'kubernetes.io/service-account-token',
    metadata: { name: 'api', annotations: { 'kubernetes.io/service-account.name': account } },
    stringData: { token: 'x' },
  })
  return 'api'
}

function job(m: ManifestSet, kind: 'Job' | 'CronJob', command: readonly string[]): Loose {
  const { image, env } = m.langflow
  const template = { spec: { restartPolicy: 'Never', containers: [{ name: 'seed', image, command, env }] } }
  const once = { template }
  const spec = kind === 'Job' ? once : { schedule: '0 3 * * *', jobTemplate: { spec: once } }
  return { apiVersion: 'batch/v1', kind, metadata: { name: 'seed' }, spec: structuredClone(spec) }
}

function egress(rules: readonly string[]): string {
  return `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: langflow-egress }
spec:
  podSelector: { matchLabels: { app.kubernetes.io/name: langflow } }
  policyTypes: [Egress]
  egress: [${rules.join(', ')}]
`
}

export function ingress(service: string, port: string): string {
  return `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: langflow }
spec: { rules: [{ http: { paths: [{ path: /, backend: { service: { name: ${service}, port: { ${port} } } } }] } }] }
`
}

export function httpRoute(service: string, port: number): string {
  return `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: langflow }
spec: { rules: [{ backendRefs: [{ name: ${service}, port: ${port} }] }] }
`
}

export function claim(name: string, mode: string): string {
  return `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: ${name} }
spec: { accessModes: [${mode}], resources: { requests: { storage: 10Gi } } }
`
}

export function autoscaler(m: ManifestSet, min: number, max: number): string {
  const { kind, metadata } = m.workload
  return `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: langflow }
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: ${kind}, name: ${metadata.name} }
  minReplicas: ${min}
  maxReplicas: ${max}
`
}

function budget(base: 'production' | 'smallest', limit: string): string {
  return `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: ${base} }
spec:
  ${limit}
  selector: { matchLabels: { app.kubernetes.io/name: langflow } }
`
}
