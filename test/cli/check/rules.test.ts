import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CATALOGUE, type Outcome } from '../../../agent/cli/check/check.ts'
import { explained } from '../../../agent/cli/check/explanation.ts'
import type { ClusterFacts } from '../../../agent/cli/check/rule.ts'
import { grantOf } from '../../../agent/cli/check/rules/right-rules.ts'
import { findingsIn, healthy, type Loose, QUIET, resultsOf } from './facts.ts'

/** A LangFlow with one change, and the result of its rule. */
interface Case {
  readonly it: string
  readonly is: Outcome
  /** Part of the message, if the outcome alone does not identify the problem. */
  readonly says?: RegExp
  readonly kind?: 'StatefulSet'
  readonly change?: (parts: Parts) => unknown
  /** Changes to the facts of the cluster. */
  readonly cluster?: Partial<ClusterFacts>
  /** An object that certainly does not exist. */
  readonly absent?: string
  /** The namespace of all objects that have none. */
  readonly namespace?: string
}

/** Short names for the parts that the cases change most. */
type Parts = ReturnType<typeof partsOf>

function partsOf(all: Loose[]) {
  const find = (kind: string, name?: string): Loose =>
    all.find((one) => one.kind === kind && (name ?? one.metadata.name) === one.metadata.name)
  const workload = all.find(({ spec }) => spec?.template)
  const { template } = workload.spec
  return {
    all,
    workload,
    spec: workload.spec,
    template,
    pod: template.spec,
    agent: template.spec.initContainers[1],
    langflow: template.spec.containers[0],
    service: find('Service', 'flows'),
    members: find('Service', 'app-members'),
    role: find('Role'),
    binding: find('RoleBinding'),
    remove: (kind: string) => void all.splice(all.indexOf(find(kind)), 1),
    drop: (one: Loose) => void all.splice(all.indexOf(one), 1),
  }
}

const put =
  (...objects: object[]) =>
  ({ all }: Parts) =>
    all.push(...objects)

// Changes to variables.
const set = (container: Loose, name: string, value: object | string | null) => {
  container.env = container.env.filter((one: Loose) => one.name !== name)
  if (value !== null) container.env.push({ name, ...(typeof value === 'string' ? { value } : value) })
}
const langflowHas =
  (variables: Readonly<Record<string, object | string | null>>) =>
  ({ langflow }: Parts) => {
    for (const [name, value] of Object.entries(variables)) set(langflow, name, value)
  }
const agentHas =
  (variables: Readonly<Record<string, string | null>>) =>
  ({ agent }: Parts) => {
    for (const [name, value] of Object.entries(variables)) set(agent, name, value)
  }
const fromSecret = (optional = false) => ({ valueFrom: { secretKeyRef: { name: 's', key: 'k', optional } } })

const besideDatabase = (name: string) => (parts: Parts) => {
  langflowHas({ LANGFLOW_DATABASE_URL: 'postgresql://127.0.0.1/flows' })(parts)
  parts.pod.containers.push({ name, image: `${name}:2` })
}

// Changes to volumes.
const mount = ({ pod, langflow }: Parts) => {
  pod.volumes.push({ name: 'data', persistentVolumeClaim: { claimName: 'data' } })
  langflow.volumeMounts.push({ name: 'data', mountPath: '/data' })
}
const claim = (...accessModes: string[]) => ({
  kind: 'PersistentVolumeClaim',
  metadata: { name: 'data' },
  spec: { accessModes },
})

// The command of LangFlow, after the launcher.
const command =
  (...words: string[]) =>
  ({ langflow }: Parts) => {
    const at = langflow.command.indexOf('--')
    langflow.command = [...langflow.command.slice(0, at + 1), ...words]
  }
const script = (text: string) => command('sh', '-c', text)

const warm =
  (change: (parts: Parts) => unknown = () => {}) =>
  (parts: Parts) => {
    agentHas({ LEADER_STANDBY: 'warm' })(parts)
    change(parts)
  }

// Front mode, as `inject --traffic=front` and the chart configure it.
const front =
  (change: (parts: Parts) => unknown = () => {}) =>
  (parts: Parts) => {
    const { service, agent, langflow, pod } = parts
    agentHas({ LEADER_TRAFFIC: 'front', LEADER_STANDBY: 'warm' })(parts)
    agent.readinessProbe.httpGet.path = '/frontz'
    langflow.ports = [{ name: 'http', containerPort: 8091 }]
    set(langflow, 'LANGFLOW_PORT', '7860')
    service.spec.ports = [{ name: 'http', port: 7860, targetPort: 'http' }]
    pod.terminationGracePeriodSeconds = 75
    change(parts)
  }

// Objects beside LangFlow’s workload.
const autoscaler = {
  kind: 'HorizontalPodAutoscaler',
  metadata: { name: 'h' },
  spec: { scaleTargetRef: { kind: 'Deployment', name: 'app' }, minReplicas: 2, maxReplicas: 4 },
}
const linked =
  (change: (parts: Parts) => unknown = () => {}) =>
  (parts: Parts) => {
    delete parts.pod.enableServiceLinks
    parts.service.metadata.name = 'langflow'
    change(parts)
  }
const resizer = (updatePolicy: object) => ({
  kind: 'VerticalPodAutoscaler',
  metadata: { name: 'v' },
  spec: { targetRef: { kind: 'Deployment', name: 'app' }, updatePolicy },
})
const podOn = (nodeName: string, name: string) => ({
  kind: 'Pod',
  metadata: { name, labels: { app: 'flows' }, ownerReferences: [{ kind: 'ReplicaSet', name: 'app-1' }] },
  spec: { nodeName, containers: [{ name: 'langflow' }] },
})
/** The same LangFlow again, as another workload. */
const second =
  (change: (parts: Parts) => unknown = () => {}) =>
  ({ all }: Parts) => {
    const copy = structuredClone(all) as Loose[]
    const parts = partsOf(copy)
    parts.workload.metadata.name = 'other'
    change(parts)
    all.push(parts.workload)
  }
const policy = (spec: object) => ({
  kind: 'NetworkPolicy',
  metadata: { name: 'deny' },
  spec: { podSelector: {}, ...spec },
})
const ingress = (...rules: object[]) => put(policy({ ingress: rules }))
const egress = (...rules: object[]) => put(policy({ policyTypes: ['Egress'], egress: rules }))
const OWN = [{ podSelector: { matchLabels: { app: 'flows' } } }]
const DNS = { ports: [{ port: 53, protocol: 'UDP' }] }
const API = { to: [{ ipBlock: { cidr: '0.0.0.0/0' } }], ports: [{ port: 6443 }] }
const ports = (...numbers: (number | string)[]) => ({ ports: numbers.map((port) => ({ port })) })
const budget = (spec: object) =>
  put({
    kind: 'PodDisruptionBudget',
    metadata: { name: 'b' },
    spec: { selector: { matchLabels: { app: 'flows' } }, ...spec },
  })
const hidden = (kind: string) => ({ hidden: new Map([[kind, 'no']]) })
const lacking =
  (rule: number, verb: string) =>
  ({ role }: Parts) =>
    (role.rules[rule].verbs = role.rules[rule].verbs.filter((one: string) => one !== verb))

const CASES: Readonly<Record<string, readonly Case[]>> = {
  'kubernetes-version': [
    { it: 'Kubernetes 1.28', is: 'error', cluster: { version: '1.28' } },
    { it: 'an API server without a version', is: 'unknown', cluster: { version: null } },
  ],
  'api-latency': [
    {
      it: 'a slow median',
      is: 'error',
      cluster: { latency: { requests: 20, medianMs: 2_600, slowestMs: 3_000 } },
    },
    {
      it: 'a slow request with fast timings',
      is: 'warning',
      change: agentHas({
        LEADER_LEASE_DURATION: '6s',
        LEADER_RENEW_DEADLINE: '4s',
        LEADER_RETRY_PERIOD: '1s',
      }),
      cluster: { latency: { requests: 20, medianMs: 5, slowestMs: 1_100 } },
    },
  ],
  'objects-visible': [{ it: 'a hidden kind of object', is: 'unknown', cluster: hidden('Service') }],
  'langflow-found': [
    { it: 'no LangFlow', is: 'error', change: ({ remove }) => remove('Deployment') },
    {
      it: 'no LangFlow while Deployments are hidden',
      is: 'unknown',
      change: ({ remove }) => remove('Deployment'),
      cluster: hidden('Deployment'),
    },
    {
      it: 'a LangFlow in a bare Pod',
      is: 'error',
      change: put({
        kind: 'Pod',
        metadata: { name: 'p' },
        spec: { containers: [{ name: 'langflow', image: 'x' }] },
      }),
    },
  ],
  'langflow-image': [
    {
      it: 'the image nginx',
      is: 'error',
      change: ({ langflow }) => (langflow.image = 'registry.example.org/nginx:1'),
    },
    {
      it: 'a single container without the name, image or command of LangFlow',
      is: 'warning',
      change: ({ langflow }) =>
        Object.assign(langflow, {
          name: 'web',
          image: 'x',
          command: [...langflow.command.slice(0, -2), 'x'],
        }),
    },
  ],
  'replicas-one': [{ it: 'one replica', is: 'warning', change: ({ spec }) => (spec.replicas = 1) }],
  'database-shared': [
    { it: 'no database', is: 'error', change: langflowHas({ LANGFLOW_DATABASE_URL: null }) },
    { it: 'SQLite', is: 'error', change: langflowHas({ LANGFLOW_DATABASE_URL: 'sqlite:////data/x.db' }) },
    {
      it: 'SQLite on a claim template, which gives each replica a claim',
      is: 'error',
      kind: 'StatefulSet',
      change: (parts) => {
        langflowHas({ LANGFLOW_DATABASE_URL: 'sqlite:////data/x.db' })(parts)
        parts.spec.volumeClaimTemplates = [{ metadata: { name: 'data' } }]
        mount(parts)
      },
    },
    {
      it: 'SQLite on a shared claim',
      is: 'warning',
      change: (parts) => {
        langflowHas({ LANGFLOW_DATABASE_URL: 'sqlite:////data/x.db' })(parts)
        mount(parts)
      },
    },
    {
      it: 'SQLite in the configuration directory on a shared claim',
      is: 'warning',
      change: (parts) => {
        langflowHas({
          LANGFLOW_DATABASE_URL: null,
          LANGFLOW_SAVE_DB_IN_CONFIG_DIR: 'true',
          LANGFLOW_CONFIG_DIR: '/data/config',
        })(parts)
        mount(parts)
      },
    },
    {
      it: 'no database, with flows from files',
      is: 'warning',
      change: langflowHas({ LANGFLOW_DATABASE_URL: null, LANGFLOW_LOAD_FLOWS_PATH: '/flows' }),
    },
    {
      it: 'a database URL from an optional Secret',
      is: 'unknown',
      change: langflowHas({ LANGFLOW_DATABASE_URL: fromSecret(true) }),
    },
    {
      it: 'a database URL from an optional Secret that does not exist',
      is: 'error',
      change: langflowHas({ LANGFLOW_DATABASE_URL: fromSecret(true) }),
      absent: 'Secret/s',
    },
    {
      it: 'SQLite that the start script sets',
      is: 'error',
      change: script('export LANGFLOW_DATABASE_URL=sqlite:////data/x.db; exec langflow run'),
    },
    {
      it: 'a database URL that a script sets after other commands',
      is: 'unknown',
      says: /script of its container sets LANGFLOW_DATABASE_URL/,
      change: script('alembic upgrade head; export LANGFLOW_DATABASE_URL=x; langflow run'),
    },
    {
      it: 'a script that only reads the database URL',
      is: 'ok',
      change: script('curl "$LANGFLOW_DATABASE_URL"; langflow run'),
    },
    {
      it: 'a program that may set the database URL',
      is: 'unknown',
      change: script('doppler run -- langflow run'),
    },
    {
      it: 'a file that overrides the database URL',
      is: 'unknown',
      change: langflowHas({ LEADER_ENV_FILE: '/run/secrets/env' }),
    },
    {
      it: 'a database URL whose password alone is hidden',
      is: 'ok',
      change: langflowHas({
        PASSWORD: fromSecret(),
        LANGFLOW_DATABASE_URL: 'postgresql://me:$(PASSWORD)@db/flows',
      }),
    },
    {
      it: 'a database for each pod',
      is: 'error',
      change: langflowHas({
        POD: { valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
        LANGFLOW_DATABASE_URL: 'postgresql://db/$(POD)',
      }),
    },
    {
      it: 'a database in the pod',
      is: 'error',
      change: langflowHas({ LANGFLOW_DATABASE_URL: 'postgresql://localhost/flows' }),
    },
    {
      it: 'a database behind a proxy in the pod',
      is: 'ok',
      change: besideDatabase('cloud-sql-proxy'),
    },
    { it: 'a database behind a container of the pod', is: 'unknown', change: besideDatabase('db') },
    {
      it: 'replicas from an autoscaler, beside replicas: 1',
      is: 'error',
      change: (parts) => {
        langflowHas({ LANGFLOW_DATABASE_URL: null })(parts)
        parts.spec.replicas = 1
        put(autoscaler)(parts)
      },
    },
    {
      it: 'no replicas',
      is: 'error',
      change: (parts) => {
        langflowHas({ LANGFLOW_DATABASE_URL: null })(parts)
        delete parts.spec.replicas
      },
    },
  ],
  'secret-key': [
    { it: 'no key', is: 'error', change: langflowHas({ LANGFLOW_SECRET_KEY: null }) },
    {
      it: 'a key that Fernet refuses',
      is: 'error',
      change: langflowHas({ LANGFLOW_SECRET_KEY: '1'.repeat(60) }),
    },
    {
      it: 'a key in a Secret that Fernet refuses',
      is: 'error',
      change: (parts) => {
        langflowHas({ LANGFLOW_SECRET_KEY: fromSecret() })(parts)
        put({ kind: 'Secret', metadata: { name: 's' }, stringData: { k: 'a'.repeat(64) } })(parts)
      },
    },
    {
      it: 'a key for each pod',
      is: 'error',
      change: langflowHas({
        LANGFLOW_SECRET_KEY: { valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } },
      }),
    },
    {
      it: 'a key in an unknown Secret',
      is: 'unknown',
      change: langflowHas({ LANGFLOW_SECRET_KEY: fromSecret() }),
    },
    {
      it: 'perhaps one in a file',
      is: 'unknown',
      says: /may come from the file \/run\/secrets\/env$/,
      change: langflowHas({ LANGFLOW_SECRET_KEY: null, LEADER_ENV_FILE: '/run/secrets/env' }),
    },
    {
      it: 'perhaps one in a file, by a flag',
      is: 'unknown',
      change: (parts) => {
        langflowHas({ LANGFLOW_SECRET_KEY: null })(parts)
        parts.langflow.command = parts.langflow.command.toSpliced(-1, 0, '--env-file=/run/secrets/env')
      },
    },
  ],
  'variable-references': [
    {
      it: 'a variable that does not exist',
      is: 'error',
      change: langflowHas({ LANGFLOW_DATABASE_URL: 'postgresql://$(DB_HOST)/flows' }),
    },
    {
      it: 'a variable that a Service may define',
      is: 'ok',
      change: (parts) => {
        parts.pod.enableServiceLinks = true
        langflowHas({ LANGFLOW_DATABASE_URL: 'postgresql://$(PG_SERVICE_HOST)/flows' })(parts)
      },
    },
    {
      it: 'a variable that a hidden Secret may define',
      is: 'ok',
      change: (parts) => {
        parts.langflow.envFrom = [{ secretRef: { name: 's' } }]
        langflowHas({ LANGFLOW_DATABASE_URL: 'postgresql://$(DB_HOST)/flows' })(parts)
      },
    },
  ],
  'pod-valid': [
    { it: 'a missing volume', is: 'error', change: ({ pod }) => pod.volumes.pop() },
    {
      it: 'a volume of a claim template',
      is: 'ok',
      kind: 'StatefulSet',
      change: ({ spec, langflow }) => {
        spec.volumeClaimTemplates = [{ metadata: { name: 'data' } }]
        langflow.volumeMounts.push({ name: 'data', mountPath: '/data' })
      },
    },
  ],
  'langflow-files': [
    {
      it: 'a directory that the read-only root does not have',
      is: 'error',
      change: (parts) => {
        parts.langflow.securityContext = { readOnlyRootFilesystem: true }
        langflowHas({ LANGFLOW_CONFIG_DIR: '/srv/langflow' })(parts)
      },
    },
  ],
  'drill-settings': [
    {
      it: 'a drill without an address',
      is: 'error',
      change: put({
        kind: 'Job',
        metadata: { name: 'drill' },
        spec: { template: { spec: { containers: [{ name: 'drill', args: ['drill'] }] } } },
      }),
    },
  ],
  'variable-sources': [
    {
      it: 'a Secret that check does not see',
      is: 'unknown',
      says: /check does not see Secret\/s$/,
      change: langflowHas({ LANGFLOW_SECRET_KEY: fromSecret() }),
    },
    {
      it: 'a Secret without the key',
      is: 'error',
      says: /lacks the key k \(LANGFLOW_SECRET_KEY\)/,
      change: (parts) => {
        langflowHas({ LANGFLOW_SECRET_KEY: fromSecret() })(parts)
        put({ kind: 'Secret', metadata: { name: 's' }, stringData: { other: 'x' } })(parts)
      },
    },
    {
      it: 'a Secret without an optional key',
      is: 'ok',
      change: (parts) => {
        langflowHas({ LANGFLOW_DATABASE_URL: fromSecret(true) })(parts)
        put({ kind: 'Secret', metadata: { name: 's' }, stringData: { other: 'x' } })(parts)
      },
    },
    {
      it: 'a Secret that does not exist',
      is: 'error',
      says: /\(LANGFLOW_SECRET_KEY, LANGFLOW_DATABASE_URL\)/,
      change: langflowHas({ LANGFLOW_SECRET_KEY: fromSecret(), LANGFLOW_DATABASE_URL: fromSecret() }),
      absent: 'Secret/s',
    },
    {
      it: 'a ConfigMap of the agent that does not exist',
      is: 'error',
      change: ({ agent }) => (agent.envFrom = [{ configMapRef: { name: 'c' } }]),
      absent: 'ConfigMap/c',
    },
  ],
  'auto-login': [
    ...['True', '1', 'T', 'on'].map(
      (value): Case => ({ it: value, is: 'warning', change: langflowHas({ LANGFLOW_AUTO_LOGIN: value }) }),
    ),
    { it: 'false', is: 'ok', change: langflowHas({ LANGFLOW_AUTO_LOGIN: 'false' }) },
    {
      it: 'a ConfigMap that may set it',
      is: 'unknown',
      change: ({ langflow }) => (langflow.envFrom = [{ configMapRef: { name: 'c' } }]),
    },
  ],
  'log-env': [{ it: 'no LANGFLOW_LOG_ENV', is: 'warning', change: langflowHas({ LANGFLOW_LOG_ENV: null }) }],
  'local-files': [
    { it: 'uploads on the local disk', is: 'warning', change: langflowHas({ LANGFLOW_STORAGE_TYPE: null }) },
    {
      it: 'uploads on the local disk beside a local database',
      is: 'ok',
      change: langflowHas({ LANGFLOW_STORAGE_TYPE: null, LANGFLOW_DATABASE_URL: null }),
    },
    {
      it: 'uploads on an NFS volume',
      is: 'ok',
      change: (parts) => {
        langflowHas({ LANGFLOW_STORAGE_TYPE: null, LANGFLOW_CONFIG_DIR: '/data/config' })(parts)
        parts.pod.volumes.push({ name: 'data', nfs: { server: 's', path: '/' } })
        parts.langflow.volumeMounts.push({ name: 'data', mountPath: '/data' })
      },
    },
    {
      it: 'uploads on a shared claim',
      is: 'ok',
      change: (parts) => {
        langflowHas({ LANGFLOW_STORAGE_TYPE: null, LANGFLOW_CONFIG_DIR: '/data/config' })(parts)
        mount(parts)
      },
    },
  ],
  'volume-shared': [
    {
      it: 'a ReadWriteOnce claim',
      is: 'error',
      change: (parts) => {
        mount(parts)
        put(claim('ReadWriteOnce'))(parts)
      },
    },
    {
      it: 'a ReadWriteMany claim',
      is: 'ok',
      change: (parts) => {
        mount(parts)
        put(claim('ReadWriteMany'))(parts)
      },
    },
    {
      it: 'a claim template',
      is: 'ok',
      kind: 'StatefulSet',
      change: (parts) => {
        parts.spec.volumeClaimTemplates = [{ metadata: { name: 'data' } }]
        mount(parts)
      },
    },
    { it: 'an unknown claim', is: 'unknown', change: mount },
    { it: 'a hidden claim', is: 'unknown', change: mount, cluster: hidden('PersistentVolumeClaim') },
  ],
  'pod-processes': [
    {
      it: 'a shared process namespace',
      is: 'error',
      change: ({ pod }) => (pod.shareProcessNamespace = true),
    },
    { it: "the node's namespace", is: 'error', change: ({ pod }) => (pod.hostPID = true) },
  ],
  'pod-host-network': [
    { it: "the node's network", is: 'error', change: ({ pod }) => (pod.hostNetwork = true) },
  ],
  'agent-missing': [{ it: 'no agent', is: 'error', change: ({ pod }) => pod.initContainers.pop() }],
  'agent-place': [
    {
      it: 'an init container without restartPolicy',
      is: 'error',
      change: ({ agent }) => delete agent.restartPolicy,
    },
    {
      it: 'a regular container',
      is: 'warning',
      change: ({ pod }) => pod.containers.push(...pod.initContainers.splice(1, 1)),
    },
  ],
  'launcher-missing': [
    { it: 'no launcher', is: 'error', change: ({ langflow }) => (langflow.command = ['langflow', 'run']) },
    {
      it: 'a script that names the program',
      is: 'unknown',
      change: ({ langflow }) => (langflow.command = ['sh', '-c', 'exec /opt/langflow-leader/node …']),
    },
  ],
  'agent-settings': [
    {
      it: 'an invalid duration',
      is: 'error',
      says: /--lease-duration \(5s\)/,
      change: agentHas({ LEADER_LEASE_DURATION: '5s' }),
    },
    { it: 'an unknown variable', is: 'error', says: /STANBY/, change: agentHas({ LEADER_STANBY: 'warm' }) },
    {
      it: 'an invalid launcher setting',
      is: 'error',
      says: /launcher/,
      change: langflowHas({ LEADER_STOP_TIMEOUT: '7' }),
    },
    {
      it: 'an object with variables of the agent that check does not see',
      is: 'unknown',
      says: /of the agent, its variables may come from ConfigMap\/c$/,
      change: ({ agent }) => (agent.envFrom = [{ configMapRef: { name: 'c' } }]),
    },
    {
      it: 'an invalid combination that a hidden variable may mend',
      is: 'unknown',
      change: (parts) => {
        agentHas({ LEADER_LEASE_DURATION: '5s' })(parts)
        parts.agent.envFrom = [{ secretRef: { name: 's' } }]
      },
    },
    { it: 'a front without a pod IP', is: 'error', change: front(agentHas({ POD_IP: null })) },
  ],
  'misplaced-variables': [
    {
      it: "the standby mode in LangFlow's container",
      is: 'warning',
      change: langflowHas({ LEADER_STANDBY: 'warm' }),
    },
    { it: 'an env file in the agent', is: 'warning', change: agentHas({ LEADER_ENV_FILE: '/env' }) },
    { it: 'a shared setting in both', is: 'ok', change: langflowHas({ LEADER_LOG_LEVEL: 'debug' }) },
  ],
  'agent-identity': [
    { it: 'no pod name and UID', is: 'error', change: agentHas({ POD_NAME: null, POD_UID: null }) },
  ],
  'agent-target': [{ it: 'another port', is: 'error', change: langflowHas({ LANGFLOW_PORT: '7000' }) }],
  'agent-port-taken': [
    ...[8090, 8091].map(
      (port): Case => ({
        it: `port ${port} of another container`,
        is: 'error',
        change: front(({ pod }) => pod.containers.push({ name: 'x', ports: [{ containerPort: port }] })),
      }),
    ),
    {
      it: "a LangFlow on the front's port",
      is: 'error',
      change: front(langflowHas({ LANGFLOW_PORT: '8091' })),
    },
  ],
  'agent-probes': [
    {
      it: 'the probe of fronts without a front',
      is: 'error',
      change: ({ agent }) => (agent.readinessProbe.httpGet.path = '/frontz'),
    },
    {
      it: 'the probe of the leader with a front',
      is: 'error',
      change: front(({ agent }) => (agent.readinessProbe.httpGet.path = '/readyz')),
    },
    { it: 'no liveness probe', is: 'warning', change: ({ agent }) => delete agent.livenessProbe },
    { it: 'no readiness probe', is: 'error', change: ({ agent }) => delete agent.readinessProbe },
    {
      it: 'a liveness probe of /readyz',
      is: 'error',
      change: ({ agent }) => (agent.livenessProbe.httpGet.path = '/readyz'),
    },
  ],
  'gate-speed': [
    {
      it: "Kubernetes' defaults",
      is: 'warning',
      change: ({ agent }) => (agent.readinessProbe = { httpGet: agent.readinessProbe.httpGet }),
    },
  ],
  'langflow-probes': [
    {
      it: 'a liveness probe of LangFlow itself',
      is: 'error',
      change: ({ langflow }) => (langflow.livenessProbe = { httpGet: { path: '/health', port: 7860 } }),
    },
    {
      it: 'a readiness probe of LangFlow behind a front',
      is: 'error',
      change: front(({ langflow }) => (langflow.readinessProbe = { tcpSocket: { port: 7860 } })),
    },
    {
      it: 'a readiness probe of LangFlow without a front',
      is: 'ok',
      change: ({ langflow }) => (langflow.readinessProbe = { tcpSocket: { port: 7860 } }),
    },
  ],
  'agent-socket': [
    {
      it: 'a socket that LangFlow does not mount',
      is: 'error',
      change: ({ langflow }) => langflow.volumeMounts.splice(1, 1),
    },
    {
      it: 'two socket paths',
      is: 'error',
      change: langflowHas({ LEADER_SOCKET: '/run/langflow-leader/x.sock' }),
    },
  ],
  'langflow-mounts': [
    {
      it: 'a writable socket',
      is: 'error',
      change: ({ langflow }) => delete langflow.volumeMounts[1].readOnly,
    },
    {
      it: "the agent's state in LangFlow's container",
      is: 'error',
      change: ({ langflow }) => langflow.volumeMounts.push({ name: 'agent-state', mountPath: '/x' }),
    },
    { it: 'an agent without state', is: 'warning', change: ({ agent }) => agent.volumeMounts.splice(1, 1) },
  ],
  'agent-user': [
    {
      it: 'two users without a common group',
      is: 'error',
      change: ({ pod, agent, langflow }) => {
        pod.securityContext = {}
        agent.securityContext = { runAsUser: 1 }
        langflow.securityContext = { runAsUser: 2 }
      },
    },
    {
      it: 'two users with an fsGroup',
      is: 'ok',
      change: ({ pod, agent, langflow }) => {
        pod.securityContext = { fsGroup: 3 }
        agent.securityContext = { runAsUser: 1 }
        langflow.securityContext = { runAsUser: 2 }
      },
    },
  ],
  'agent-token': [
    { it: 'no token', is: 'error', change: ({ agent }) => agent.volumeMounts.pop() },
    {
      it: 'a Secret that may have a token',
      is: 'unknown',
      change: ({ pod }) => {
        const volume = pod.volumes.find(({ name }: Loose) => name === 'token')
        Object.assign(volume, { projected: undefined, secret: { secretName: 'robot' } })
      },
    },
  ],
  'token-beside-flows': [
    {
      it: 'a token that is mounted by default',
      is: 'error',
      change: ({ pod }) => (pod.automountServiceAccountToken = true),
    },
    {
      it: "the agent's token volume in LangFlow's container",
      is: 'error',
      change: ({ langflow }) => langflow.volumeMounts.push({ name: 'token', mountPath: '/x' }),
    },
    {
      it: 'the default account, although the stream has another one',
      is: 'error',
      change: ({ pod }) => {
        for (const key of ['serviceAccountName', 'serviceAccount', 'automountServiceAccountToken'])
          delete pod[key]
      },
    },
    {
      it: 'a hidden account',
      is: 'unknown',
      change: ({ pod }) => delete pod.automountServiceAccountToken,
      cluster: hidden('ServiceAccount'),
    },
  ],
  'grace-period': [
    {
      it: 'the default grace period',
      is: 'error',
      says: /at least 40$/,
      change: ({ pod }) => delete pod.terminationGracePeriodSeconds,
    },
    {
      it: 'a grace period without the hold timeout',
      is: 'error',
      says: /at least 70$/,
      change: front(({ pod }) => (pod.terminationGracePeriodSeconds = 45)),
    },
  ],
  'stop-timeout': [
    {
      it: 'different values of agent and launcher',
      is: 'warning',
      change: langflowHas({ LEADER_STOP_TIMEOUT: '1m' }),
    },
  ],
  'agent-get-lease': [
    { it: 'a Role without the verb', is: 'error', change: lacking(0, 'get') },
    { it: 'no RoleBinding', is: 'error', change: ({ remove }) => remove('RoleBinding') },
    {
      it: 'no RoleBinding and no ServiceAccount in the stream',
      is: 'unknown',
      change: ({ remove }) => ['RoleBinding', 'ServiceAccount', 'Role'].forEach(remove),
    },
    {
      it: 'no RoleBinding in a cluster',
      is: 'unknown',
      change: ({ remove }) => remove('RoleBinding'),
      cluster: {},
    },
    { it: 'no Role', is: 'error', says: /refers to Role/, change: ({ remove }) => remove('Role') },
    {
      it: 'a Role for a Lease of another name',
      is: 'error',
      says: /its Role is for other: change the name/,
      change: ({ role }) => (role.rules[0].resourceNames = ['other']),
    },
    {
      it: 'a binding of another account',
      is: 'error',
      change: ({ binding }) => (binding.subjects[0].name = 'other'),
    },
    {
      it: 'a Lease in another namespace than the Role',
      is: 'error',
      change: (parts) => {
        for (const one of parts.all) if (one !== parts.workload) one.metadata.namespace = 'here'
        agentHas({ LEADER_LEASE_NAMESPACE: 'there' })(parts)
      },
    },
    {
      it: 'a name of the Lease by a flag, which overrides a ConfigMap that check does not see',
      is: 'error',
      says: /may not get leases.coordination.k8s.io "other"/,
      change: (parts) => {
        agentHas({ LEADER_LEASE_NAME: null })(parts)
        parts.agent.args = ['agent', '--lease-name=other']
        parts.agent.env.push(
          { name: 'LEADER_KUBECONFIG', value: '' },
          { name: 'LEADER_LEASE_NAMESPACE', value: '' },
        )
        parts.agent.envFrom = [{ configMapRef: { name: 'c' } }]
      },
    },
    {
      it: 'a name of the Lease from a ConfigMap that check does not see',
      is: 'unknown',
      change: (parts) => {
        agentHas({ LEADER_LEASE_NAME: null })(parts)
        parts.agent.envFrom = [{ configMapRef: { name: 'c' } }]
      },
    },
  ],
  'agent-watch-lease': [{ it: 'a Role without the verb', is: 'error', change: lacking(0, 'watch') }],
  'agent-update-lease': [
    { it: 'a Role without the verb', is: 'error', change: lacking(0, 'update') },
    {
      it: 'a right that the API server denies',
      is: 'error',
      cluster: {
        grants: new Map([
          [
            grantOf('app-langflow-leader', {
              verb: 'update',
              group: 'coordination.k8s.io',
              resource: 'leases',
              name: 'app-leader',
            }),
            false,
          ],
        ]),
      },
    },
  ],
  'agent-create-lease': [{ it: 'a Role without the verb', is: 'warning', change: lacking(1, 'create') }],
  'agent-create-events': [{ it: 'a Role without the verb', is: 'warning', change: lacking(2, 'create') }],
  'service-leader': [
    {
      it: 'a Service that includes pods that are not Ready',
      is: 'error',
      change: ({ service }) => (service.spec.publishNotReadyAddresses = true),
    },
    {
      it: 'an Ingress to the Service for --peers',
      is: 'error',
      change: put({
        kind: 'Ingress',
        metadata: { name: 'i' },
        spec: { defaultBackend: { service: { name: 'app-members', port: { number: 8090 } } } },
      }),
    },
    {
      it: 'a Service of other pods as well',
      is: 'warning',
      change: put({
        kind: 'Deployment',
        apiVersion: 'apps/v1',
        metadata: { name: 'docs' },
        spec: { template: { metadata: { labels: { app: 'flows' } } } },
      }),
    },
    {
      it: 'a Service that includes fronts that are not Ready',
      is: 'error',
      change: front(({ service }) => (service.spec.publishNotReadyAddresses = true)),
    },
    {
      it: "LangFlow's own port in front mode",
      is: 'error',
      change: front(({ service }) => (service.spec.ports = [{ port: 80, targetPort: 7860 }])),
    },
    {
      it: 'a headless Service beside the fronts',
      is: 'warning',
      change: front(({ service }) =>
        Object.assign(service.spec, { clusterIP: 'None', ports: [{ port: 7860 }] }),
      ),
    },
    {
      it: 'no Service to the fronts',
      is: 'warning',
      change: front(({ all, service }) => all.splice(all.indexOf(service), 1)),
    },
    {
      it: 'hidden Services',
      is: 'unknown',
      change: front(({ all, service }) => all.splice(all.indexOf(service), 1)),
      cluster: hidden('Service'),
    },
  ],
  peers: [
    {
      it: 'a Service with a cluster IP',
      is: 'error',
      change: ({ members }) => delete members.spec.clusterIP,
    },
    {
      it: 'a Service that hides unready pods',
      is: 'error',
      change: ({ members }) => delete members.spec.publishNotReadyAddresses,
    },
    {
      it: 'a Service of other pods',
      is: 'error',
      change: ({ members }) => (members.spec.selector = { app: 'other' }),
    },
    { it: 'the wrong port', is: 'error', change: agentHas({ LEADER_PEERS: 'app-members:1' }) },
    { it: 'no peers', is: 'warning', change: agentHas({ LEADER_PEERS: null }) },
    {
      it: 'a Service of another name',
      is: 'error',
      says: /set LEADER_PEERS to app-members:8090/,
      change: agentHas({ LEADER_PEERS: 'x:8090' }),
    },
    { it: 'an unknown Service', is: 'unknown', change: ({ drop, members }) => drop(members) },
    { it: 'addresses', is: 'unknown', change: agentHas({ LEADER_PEERS: '10.0.0.1:8090,10.0.0.2:8090' }) },
    {
      it: 'a Service that does not exist',
      is: 'error',
      change: ({ drop, members }) => drop(members),
      cluster: {},
    },
  ],
  'network-egress': [
    { it: 'a policy that allows nothing', is: 'error', says: /API server/, change: egress() },
    {
      it: 'a policy without the other agents',
      is: 'error',
      says: /connections between the agents/,
      change: egress(API, DNS),
    },
    {
      it: 'a policy without the other fronts',
      is: 'error',
      says: /connections between the fronts/,
      change: front(egress(API, DNS, { to: OWN, ...ports(8090) })),
    },
    {
      it: 'a policy without DNS',
      is: 'error',
      says: /DNS/,
      change: egress(API, { to: OWN, ...ports(8090) }),
    },
    {
      it: 'a policy without the database',
      is: 'error',
      says: /blocks the database on port 5432/,
      change: egress(API, DNS, { to: OWN, ...ports(8090) }),
    },
    {
      it: 'a policy that allows all of these by port numbers and ranges',
      is: 'ok',
      change: front(egress(API, DNS, ports(5432), { to: OWN, ports: [{ port: 8090, endPort: 8091 }] })),
    },
    {
      it: "a policy with the agent's port by name and the API server's port of MicroK8s",
      is: 'ok',
      change: egress(ports(16443, 5432), DNS, { to: OWN, ...ports('agent') }),
    },
    {
      it: 'a policy that names addresses, which may be those of the API server',
      is: 'unknown',
      change: egress({ to: [{ ipBlock: { cidr: '10.0.0.0/8' } }], ...ports(443, 5432) }, DNS, {
        to: OWN,
        ...ports(8090),
      }),
    },
    { it: 'hidden policies', is: 'unknown', cluster: hidden('NetworkPolicy') },
  ],
  'network-ingress': [
    {
      it: 'a policy without clients in the stream',
      is: 'unknown',
      says: /blocks every client, because no ingress rule lets one reach port 7860/,
      change: ingress({ from: OWN, ...ports(8090, 7860) }),
    },
    {
      it: 'policies without clients in the cluster',
      is: 'error',
      change: ingress({ from: OWN, ...ports(8090, 7860) }),
      cluster: {},
    },
    {
      it: 'a policy that admits only the namespace of the monitoring',
      is: 'error',
      change: ingress({ from: [{ namespaceSelector: { matchLabels: { 'x/monitoring': 'true' } } }] }),
    },
    {
      it: 'a policy that admits namespaces with a label',
      is: 'unknown',
      change: ingress({ from: [{ namespaceSelector: { matchLabels: { team: 'x' } } }] }),
    },
    {
      it: 'a policy that admits a namespace of another name',
      is: 'error',
      change: (parts) => {
        parts.workload.metadata.namespace = 'flows'
        const matchLabels = { 'kubernetes.io/metadata.name': 'other' }
        ingress({ from: [{ namespaceSelector: { matchLabels } }] })(parts)
      },
    },
    {
      it: 'a policy that admits all namespaces',
      is: 'ok',
      change: ingress({ from: [{ namespaceSelector: {} }] }),
    },
    { it: 'a policy without the other agents', is: 'error', change: ingress(ports(7860)) },
    {
      it: 'a policy without the other fronts',
      is: 'error',
      change: front(
        ingress(
          { from: OWN, ...ports(8090) },
          { from: [{ podSelector: { matchLabels: { app: 'x' } } }], ...ports('http') },
        ),
      ),
    },
    {
      it: 'a policy that allows both, with a selector of expressions',
      is: 'ok',
      change: front(
        put(
          policy({
            podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['flows'] }] },
            ingress: [{ from: OWN, ...ports(8090, 8091) }, ports('http')],
          }),
        ),
      ),
    },
    {
      it: 'a policy of other pods',
      is: 'ok',
      change: put(policy({ podSelector: { matchLabels: { app: 'other' } } })),
    },
    { it: 'hidden policies', is: 'unknown', cluster: hidden('NetworkPolicy') },
  ],
  'rollout-strategy': [
    { it: 'the default strategy', is: 'error', change: ({ spec }) => delete spec.strategy },
    {
      it: 'a strategy for two pods, and no replicas',
      is: 'unknown',
      change: ({ spec }) => delete spec.replicas,
    },
    {
      it: 'a strategy for two pods, and an autoscaler for four',
      is: 'error',
      says: /maxUnavailable to 3/,
      change: put(autoscaler),
    },
    { it: 'Recreate', is: 'warning', change: ({ spec }) => (spec.strategy = { type: 'Recreate' }) },
    {
      it: 'a rollout of all fronts at once',
      is: 'warning',
      change: front(({ spec }) => (spec.strategy = { rollingUpdate: { maxSurge: 0, maxUnavailable: 2 } })),
    },
    {
      it: 'maxSurge 0 and a maxUnavailable that is rounded to 0, which means one pod',
      is: 'ok',
      change: ({ spec }) => (spec.strategy = { rollingUpdate: { maxSurge: 0, maxUnavailable: '25%' } }),
    },
    {
      it: 'a StatefulSet of three that is updated one by one',
      is: 'error',
      says: /maxUnavailable to 2/,
      kind: 'StatefulSet',
      change: ({ spec }) => (spec.replicas = 3),
    },
    {
      it: 'a maxUnavailable that is rounded to 0, which means one pod',
      is: 'ok',
      kind: 'StatefulSet',
      change: ({ spec }) => (spec.updateStrategy = { rollingUpdate: { maxUnavailable: '25%' } }),
    },
  ],
  'pods-one-by-one': [
    {
      it: 'three pods that start in order',
      is: 'error',
      kind: 'StatefulSet',
      change: ({ spec }) => (spec.replicas = 3),
    },
    { it: 'two pods that start in order', is: 'warning', kind: 'StatefulSet' },
  ],
  'disruption-budget': [
    { it: 'a budget that the Ready pods never meet', is: 'error', change: budget({ maxUnavailable: 1 }) },
    { it: 'a budget that requires all fronts', is: 'error', change: front(budget({ minAvailable: '100%' })) },
    { it: 'a budget for other pods', is: 'ok', change: budget({ selector: { matchLabels: { app: 'x' } } }) },
    { it: 'a budget for all fronts but one', is: 'ok', change: front(budget({ maxUnavailable: 1 })) },
    { it: 'hidden budgets', is: 'unknown', cluster: hidden('PodDisruptionBudget') },
  ],
  autoscaler: [
    {
      it: 'an autoscaler',
      is: 'warning',
      change: put(autoscaler),
    },
    { it: 'hidden autoscalers', is: 'unknown', cluster: hidden('HorizontalPodAutoscaler') },
  ],
  'superuser-password': [
    { it: 'no password', is: 'error', change: langflowHas({ LANGFLOW_SUPERUSER_PASSWORD: null }) },
    {
      it: 'the old default password',
      is: 'error',
      change: langflowHas({ LANGFLOW_SUPERUSER_PASSWORD: 'langflow' }),
    },
    {
      it: 'a password in a Secret that check does not see',
      is: 'unknown',
      change: langflowHas({ LANGFLOW_SUPERUSER_PASSWORD: fromSecret() }),
    },
    {
      it: 'no password with automatic login',
      is: 'ok',
      change: langflowHas({ LANGFLOW_SUPERUSER_PASSWORD: null, LANGFLOW_AUTO_LOGIN: 'true' }),
    },
    {
      it: 'no password with an image without a version',
      is: 'unknown',
      change: (parts) => {
        langflowHas({ LANGFLOW_SUPERUSER_PASSWORD: null })(parts)
        parts.langflow.image = 'langflowai/langflow:latest'
      },
    },
    {
      it: "no password with an image of one's own, whose tag is not LangFlow's version",
      is: 'unknown',
      change: (parts) => {
        langflowHas({ LANGFLOW_SUPERUSER_PASSWORD: null })(parts)
        parts.langflow.image = 'registry.example.org/team/langflow:1.0'
      },
    },
    {
      it: 'no password with a version that logs in automatically',
      is: 'ok',
      change: (parts) => {
        langflowHas({ LANGFLOW_SUPERUSER_PASSWORD: null })(parts)
        parts.langflow.image = 'langflowai/langflow:1.12.8'
      },
    },
  ],
  'service-links': [
    { it: 'a Service named langflow', is: 'warning', change: linked() },
    {
      it: 'a Service named langflow, and a port',
      is: 'ok',
      change: linked(langflowHas({ LANGFLOW_PORT: '7860' })),
    },
    {
      it: 'a Service named langflow, without service links',
      is: 'ok',
      change: linked(({ pod }) => (pod.enableServiceLinks = false)),
    },
  ],
  'database-exclusive': [
    {
      it: 'another Lease with the same URL, apart from user, password and parameters',
      is: 'error',
      change: second(({ agent, langflow }) => {
        set(agent, 'LEADER_LEASE_NAME', 'other-leader')
        set(langflow, 'LANGFLOW_DATABASE_URL', 'postgresql+psycopg://a:b@db.ns:5432/flows?sslmode=require')
      }),
      namespace: 'ns',
    },
    {
      it: 'another Lease with another database',
      is: 'ok',
      change: second(({ agent, langflow }) => {
        set(agent, 'LEADER_LEASE_NAME', 'other-leader')
        set(langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://db/other')
      }),
    },
    {
      it: 'another Lease with the same key of a hidden Secret',
      is: 'error',
      change: (parts) => {
        langflowHas({ LANGFLOW_DATABASE_URL: fromSecret() })(parts)
        second(({ agent }) => set(agent, 'LEADER_LEASE_NAME', 'other-leader'))(parts)
      },
    },
    {
      it: 'another Lease with another hidden Secret',
      is: 'unknown',
      change: second(({ agent, langflow }) => {
        set(agent, 'LEADER_LEASE_NAME', 'other-leader')
        set(langflow, 'LANGFLOW_DATABASE_URL', fromSecret())
      }),
    },
    { it: 'the same Lease', is: 'ok', change: second() },
  ],
  'launcher-first': [
    {
      it: 'tini before the launcher',
      is: 'error',
      change: ({ langflow }) => (langflow.command = ['/sbin/tini', '--', ...langflow.command]),
    },
  ],
  'langflow-privileges': [
    {
      it: 'a privileged LangFlow',
      is: 'error',
      change: ({ langflow }) => (langflow.securityContext = { privileged: true }),
    },
    {
      it: 'the capability to trace',
      is: 'error',
      change: ({ langflow }) => (langflow.securityContext = { capabilities: { add: ['CAP_SYS_PTRACE'] } }),
    },
    {
      it: 'the capability to trace, for a user other than root',
      is: 'warning',
      change: ({ langflow }) =>
        (langflow.securityContext = { runAsUser: 1000, capabilities: { add: ['SYS_PTRACE'] } }),
    },
    {
      it: 'a harmless capability',
      is: 'ok',
      change: ({ langflow }) => (langflow.securityContext = { capabilities: { add: ['NET_BIND_SERVICE'] } }),
    },
  ],
  'other-containers': [
    {
      it: 'a migration in an init container',
      is: 'error',
      change: ({ pod }) => pod.initContainers.push({ name: 'x', command: ['langflow', 'migration'] }),
    },
    {
      it: 'a migration in a Job',
      is: 'error',
      says: /Job\/j runs langflow migration/,
      change: put({
        kind: 'Job',
        metadata: { name: 'j' },
        spec: { template: { spec: { containers: [{ name: 'x', command: ['langflow', 'migration'] }] } } },
      }),
    },
    {
      it: 'the pods of the workload itself',
      is: 'ok',
      change: ({ all, workload }) =>
        all.push({
          kind: 'Pod',
          metadata: { name: 'p', ownerReferences: [{ kind: 'ReplicaSet', name: 'r', controller: true }] },
          spec: structuredClone(workload.spec.template.spec),
        }),
    },
    {
      it: "an init container of LangFlow's image with another command",
      is: 'ok',
      change: ({ pod, langflow }) =>
        pod.initContainers.push({
          name: 'x',
          image: langflow.image,
          command: ['cp', '-r', '/flows', '/app'],
        }),
    },
  ],
  'agent-account': [
    {
      it: 'an account outside of the stream',
      is: 'unknown',
      change: ({ remove }) => remove('ServiceAccount'),
    },
    {
      it: 'an account that does not exist',
      is: 'error',
      change: ({ remove }) => remove('ServiceAccount'),
      cluster: {},
    },
  ],
  'agent-addresses': [
    {
      it: 'an agent on the loopback address',
      is: 'error',
      change: agentHas({ LEADER_LISTEN: '127.0.0.1:8090' }),
    },
    {
      it: 'a front on the loopback address',
      is: 'error',
      change: front(agentHas({ LEADER_FRONT_LISTEN: '127.0.0.1:8091' })),
    },
    {
      it: 'one address of all fronts',
      is: 'error',
      change: front(agentHas({ LEADER_FRONT_ADDRESS: 'flows:7860' })),
    },
    {
      it: "the address of each front's pod",
      is: 'ok',
      change: front(agentHas({ LEADER_FRONT_ADDRESS: '$(POD_IP):8091' })),
    },
  ],
  'langflow-host': [
    {
      it: 'another loopback address than the target',
      is: 'error',
      change: command('langflow', 'run', '--host', '::1'),
    },
    {
      it: 'the loopback address without a front',
      is: 'error',
      change: langflowHas({ LANGFLOW_HOST: 'localhost' }),
    },
    {
      it: 'the loopback address behind a front',
      is: 'ok',
      change: front(langflowHas({ LANGFLOW_HOST: 'localhost' })),
    },
    {
      it: 'a host from a hidden Secret',
      is: 'unknown',
      change: langflowHas({ LANGFLOW_HOST: fromSecret() }),
    },
  ],
  'agent-memory': [
    { it: 'a limit of 48Mi', is: 'warning', change: ({ agent }) => (agent.resources.limits.memory = '48Mi') },
  ],
  'mounted-files': [
    {
      it: 'a kubeconfig without a volume',
      is: 'error',
      change: agentHas({ LEADER_KUBECONFIG: '/etc/x/kubeconfig' }),
    },
    {
      it: 'flows without a volume',
      is: 'unknown',
      change: langflowHas({ LEADER_HANDOVER_ON_CHANGE: '/flows' }),
    },
    {
      it: 'an env file whose Secret lacks the key',
      is: 'error',
      change: (parts) => {
        put({ kind: 'Secret', metadata: { name: 's' }, stringData: { other: 'x' } })(parts)
        parts.pod.volumes.push({ name: 's', secret: { secretName: 's' } })
        parts.langflow.volumeMounts.push({ name: 's', mountPath: '/secrets' })
        langflowHas({ LEADER_ENV_FILE: '/secrets/env' })(parts)
      },
    },
    {
      it: 'an env file in a directory of a Secret',
      is: 'ok',
      change: (parts) => {
        put({ kind: 'Secret', metadata: { name: 's' }, stringData: { env: 'A=b' } })(parts)
        const secret = { secretName: 's', items: [{ key: 'env', path: 'own/langflow.env' }] }
        parts.pod.volumes.push({ name: 's', secret })
        parts.langflow.volumeMounts.push({ name: 's', mountPath: '/secrets' })
        langflowHas({ LEADER_ENV_FILE: '/secrets/own/langflow.env' })(parts)
      },
    },
    {
      it: 'flows with subPath',
      is: 'warning',
      change: (parts) => {
        parts.pod.volumes.push({ name: 'f', configMap: { name: 'f' } })
        parts.langflow.volumeMounts.push({ name: 'f', mountPath: '/flows/a.json', subPath: 'a.json' })
        langflowHas({ LEADER_HANDOVER_ON_CHANGE: '/flows/a.json' })(parts)
      },
    },
  ],
  'program-installed': [
    { it: 'no install', is: 'error', change: ({ pod }) => pod.initContainers.shift() },
    {
      it: 'an install into another directory, from which LangFlow starts',
      is: 'ok',
      change: ({ pod, langflow }) => {
        pod.initContainers[0].args = ['install', '/leader']
        pod.initContainers[0].volumeMounts[0].mountPath = '/leader'
        langflow.volumeMounts[0].mountPath = '/leader'
        langflow.command = langflow.command.map((word: string) =>
          word.replace('/opt/langflow-leader', '/leader'),
        )
      },
    },
    {
      it: 'an install into another volume',
      is: 'error',
      change: ({ pod }) => (pod.initContainers[0].volumeMounts[0].name = 'socket'),
    },
  ],
  'one-version': [
    {
      it: 'two images',
      is: 'warning',
      change: ({ pod }) => (pod.initContainers[0].image = 'langflow-leader:0.0.9'),
    },
  ],
  'agent-cpu-limit': [
    { it: 'a CPU limit', is: 'warning', change: ({ agent }) => (agent.resources.limits.cpu = '100m') },
  ],
  'standby-command': [
    {
      it: 'a script that downloads flows',
      is: 'error',
      says: /cold although --standby=warm/,
      change: warm(script('curl https://example.org > /app/flows/a.json && langflow run')),
    },
    { it: 'a script that sets a variable', is: 'ok', change: warm(script('export A=b; exec langflow run')) },
    {
      it: 'a command with a hidden variable',
      is: 'unknown',
      change: warm((parts) => {
        langflowHas({ PORT: fromSecret() })(parts)
        command('langflow', 'run', '--port', '$(PORT)')(parts)
      }),
    },
    {
      it: 'a standby mode from a ConfigMap that check does not see',
      is: 'unknown',
      change: ({ agent }) => (agent.envFrom = [{ configMapRef: { name: 'c' } }]),
    },
  ],
  'standby-memory': [
    {
      it: 'a limit below the need of a leader',
      is: 'warning',
      change: warm(({ langflow }) => (langflow.resources = { limits: { memory: '900Mi' } })),
    },
    {
      it: 'a request below the need of a standby',
      is: 'warning',
      change: warm(({ langflow }) => (langflow.resources = { requests: { memory: '512Mi' } })),
    },
  ],
  'start-timeout': [
    { it: 'less time than a start takes', is: 'error', change: agentHas({ LEADER_START_TIMEOUT: '10s' }) },
  ],
  'hold-timeout': [
    {
      it: 'cold standbys with the default',
      is: 'error',
      change: front(agentHas({ LEADER_STANDBY: 'cold' })),
    },
    {
      it: 'cold standbys with 60 s',
      is: 'ok',
      change: front(agentHas({ LEADER_STANDBY: 'cold', LEADER_HOLD_TIMEOUT: '60s' })),
    },
    { it: 'warm standbys with 10 s', is: 'error', change: front(agentHas({ LEADER_HOLD_TIMEOUT: '10s' })) },
  ],
  'lease-shared': [
    { it: 'another workload with the same Lease', is: 'error', change: second() },
    {
      it: 'another workload with another Lease',
      is: 'ok',
      change: second(agentHas({ LEADER_LEASE_NAME: 'other-leader' })),
    },
    {
      it: 'another workload with the same Lease in another namespace',
      is: 'ok',
      change: second(({ workload }) => (workload.metadata.namespace = 'other')),
      namespace: 'ns',
    },
  ],
  'vertical-autoscaler': [
    { it: 'an autoscaler that resizes pods', is: 'warning', change: put(resizer({})) },
    { it: 'an autoscaler that only recommends', is: 'ok', change: put(resizer({ updateMode: 'Off' })) },
  ],
  'one-node': [
    { it: 'a node name', is: 'warning', change: ({ pod }) => (pod.nodeName = 'n1') },
    {
      it: 'a node selector',
      is: 'warning',
      change: ({ pod }) => (pod.nodeSelector = { 'kubernetes.io/hostname': 'n1' }),
    },
    {
      it: 'an affinity to its own pods',
      is: 'warning',
      change: ({ pod }) =>
        (pod.affinity = {
          podAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [
              {
                topologyKey: 'kubernetes.io/hostname',
                labelSelector: { matchLabels: { app: 'flows' } },
              },
            ],
          },
        }),
    },
    {
      it: 'two pods on one node',
      is: 'warning',
      change: put(podOn('n1', 'a'), podOn('n1', 'b')),
      cluster: {},
    },
    {
      it: 'one pod on a node, and one that has none yet',
      is: 'ok',
      change: put(podOn('n1', 'a'), podOn('', 'b')),
      cluster: {},
    },
    { it: 'two pods on two nodes', is: 'ok', change: put(podOn('n1', 'a'), podOn('n2', 'b')), cluster: {} },
  ],
  'lease-object': [
    {
      it: 'a Lease of another name',
      is: 'error',
      says: /set LEADER_LEASE_NAME to app-lock/,
      change: ({ all }) => (all.find(({ kind }) => kind === 'Lease').metadata.name = 'app-lock'),
    },
    { it: 'no Lease in the stream', is: 'warning', change: ({ remove }) => remove('Lease') },
    { it: 'no Lease in the cluster', is: 'warning', cluster: { leases: new Map([['app-leader', false]]) } },
    { it: 'a hidden Lease', is: 'unknown', cluster: { ...hidden('Lease'), leases: new Map() } },
  ],
}

for (const [code, cases] of Object.entries(CASES))
  describe(code, () => {
    for (const { it, is, says, kind, change, cluster, absent, namespace } of cases)
      test(`${is} for ${it}`, () => {
        const all = structuredClone(healthy({}, kind)) as Loose[]
        change?.(partsOf(all))
        if (namespace !== undefined) for (const one of all) one.metadata.namespace ??= namespace
        const facts = cluster === undefined ? null : { ...QUIET, ...cluster }
        const results = resultsOf(all, facts, new Set(absent === undefined ? [] : [absent]))
        const result = results.find((one) => one.code === code)
        assert.equal(result?.outcome, is, JSON.stringify(result))
        const messages = result.findings.map(({ message }) => message)
        if (says !== undefined) assert.match(messages.join('\n'), says)
      })
  })

describe('every rule', () => {
  const codes = CATALOGUE.map(({ code }) => code)

  test('is violated by one of the cases above', () => {
    const broken = ([, cases]: readonly [string, readonly Case[]]) => cases.some(({ is }) => is !== 'ok')
    const found = Object.entries(CASES).filter(broken)
    assert.deepEqual(found.map(([code]) => code).sort(), codes.toSorted())
  })

  test('describes the consequence of a violation and the fix in sentences, for --explain', () => {
    for (const rule of CATALOGUE) {
      for (const text of [rule.breaks, rule.fix]) assert.match(text, /^[A-Zk`].+\.$/, rule.code)
      assert.match(explained(rule), new RegExp(`^${rule.code} .+\nRule: .+\nIf not: .+\nFix: .+\n$`))
    }
  })

  test('prints no value of a Secret', () => {
    const stringData = {
      LANGFLOW_SECRET_KEY: 'canary',
      LANGFLOW_DATABASE_URL: 'postgresql://canary:canary@canary:5/canary',
      LANGFLOW_SUPERUSER_PASSWORD: 'canary',
      AWS_SECRET_ACCESS_KEY: 'canary',
    }
    for (const { kind, change, cluster } of Object.values(CASES).flat()) {
      const all = structuredClone(healthy({}, kind)) as Loose[]
      const { langflow } = partsOf(all)
      for (const name of Object.keys(stringData)) set(langflow, name, null)
      langflow.envFrom = [{ secretRef: { name: 'canaries' } }]
      all.push({ kind: 'Secret', metadata: { name: 'canaries' }, stringData })
      change?.(partsOf(all))
      const results = resultsOf(all, cluster === undefined ? null : { ...QUIET, ...cluster })
      assert.doesNotMatch(JSON.stringify(results).replaceAll('canaries', ''), /canary/)
    }
  })

  test('has a unique code', () => {
    assert.equal(new Set(codes).size, codes.length)
    for (const code of codes) assert.match(code, /^[a-z]+(-[a-z]+)*$/)
  })

  for (const [what, options, kind] of [
    ['a Deployment', {}, 'Deployment'],
    ['a Deployment with fronts', { traffic: 'front', standby: 'warm' }, 'Deployment'],
    ['a StatefulSet with fronts and warm standbys', { traffic: 'front', standby: 'warm' }, 'StatefulSet'],
  ] as const)
    test(`has no finding for ${what}, in a stream and in a cluster`, () => {
      const all = healthy(options, kind)
      assert.deepEqual([findingsIn(resultsOf(all)), findingsIn(resultsOf(all, QUIET))], [{}, {}])
    })
})
