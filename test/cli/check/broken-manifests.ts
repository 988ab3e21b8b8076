import type { Finding } from '../../../agent/cli/check/check.ts'
import type { Loose } from './facts.ts'
import {
  dropMount,
  dropVariable,
  type ManifestSet,
  mountOf,
  setVariable,
  variableOf,
  volumeOf,
} from './manifest-set.ts'
import type { Base } from './sound-manifests.ts'

type Outcome = Finding['outcome']

/** One mistake, and the verdict that its author needs. */
export interface Row {
  readonly name: string
  readonly base: Base
  readonly edit: (manifests: ManifestSet) => void
  /** A finding has one of these outcomes. Several only if each of them would stop the author. */
  readonly expected: readonly Outcome[]
  /** Matches the finding's object and message: the word that leads the author to the mistake. */
  readonly says: RegExp
  /** Matches the errors that other rules rightly report for the same mistake. */
  readonly also?: RegExp
}

type Options = Partial<Pick<Row, 'base' | 'also'>>

const row =
  (...expected: Outcome[]) =>
  (name: string, edit: Row['edit'], says: RegExp, options: Options = {}): Row => ({
    name,
    base: 'production',
    edit,
    expected,
    says,
    ...options,
  })

const error = row('error')
const warning = row('warning')
const unknown = row('unknown')
/** Bad, but the contract leaves open how bad. */
const problem = row('error', 'warning')
/** `check` can't always find the mistake, but must not report that there is none. */
const doubt = row('unknown', 'error', 'warning')

/** The words behind the launcher. */
const SHELL = ['/bin/bash', '-c']

/** A finding about the Lease of this workload and of another one. */
const leaseOf = (name: string) => new RegExp(`(?=.*\\b(langflow|app)\\b)(?=.*${name})(?=.*lease)`, 'is')
/** A finding about the database of this workload and of another one. */
const databaseOf = (name: string) => new RegExp(`(?=.*\\b(langflow|app)\\b)(?=.*${name})(?=.*database)`, 'is')

/** Starts LangFlow by a script, in a base of `inject`. */
function startBy(m: ManifestSet, script: string): void {
  m.langflow.command = [...m.langflow.command.slice(0, 5), ...SHELL, script]
}

/** A job that drills a takeover. */
function addDrill(m: ManifestSet, ...env: { name: string; value: string }[]): void {
  const args = ['drill', '--yes', '--service=http://langflow:7860']
  const container = { name: 'drill', image: 'langflow-leader:0.1.0', args, env }
  m.objects.push({
    kind: 'CronJob',
    metadata: { name: 'drill' },
    spec: { jobTemplate: { spec: { template: { spec: { containers: [container] } } } } },
  })
}

const TWO_WORKLOADS: readonly Row[] = [
  error(
    'a second installation kept the default Lease, because its namePrefix did not reach LEADER_LEASE_NAME',
    (m) => {
      const staging = m.addTwin('staging')
      dropVariable(staging.agent, 'LEADER_LEASE_NAME')
      m.get('Role', 'staging-leader').rules[0].resourceNames = ['langflow-leader-lock']
    },
    leaseOf('staging'),
    { also: /staging-leader-lock/ },
  ),
  error(
    'a second installation has the Lease, the Role and the binding of the first',
    (m) => {
      const staging = m.addTwin('staging')
      for (const kind of ['Lease', 'Role', 'RoleBinding', 'ServiceAccount'])
        m.objects = m.objects.filter(({ kind: k, metadata }) => k !== kind || !/^staging/.test(metadata.name))
      staging.pod.serviceAccountName = 'langflow-leader'
      dropVariable(staging.agent, 'LEADER_LEASE_NAME')
    },
    leaseOf('staging'),
  ),
  error(
    'a copy of the Deployment has another name and the labels, Service and Lease of the first',
    (m) => {
      const copy = structuredClone(m.workload)
      copy.metadata.name = 'langflow-copy'
      m.objects.push(copy)
    },
    leaseOf('langflow-copy'),
  ),
  error(
    'a StatefulSet was added beside the Deployment that it replaces, with the same Lease',
    (m) => {
      const { strategy: _s, minReadySeconds: _m, progressDeadlineSeconds: _p, ...spec } = m.workload.spec
      m.objects.push({
        ...structuredClone(m.workload),
        kind: 'StatefulSet',
        spec: { ...structuredClone(spec), serviceName: 'langflow-members' },
      })
    },
    leaseOf('StatefulSet/langflow'),
  ),
  error(
    'blue and green have one Lease, so green never serves',
    (m) => {
      const green = m.addTwin('green')
      green.secret['database-url'] = m.get('Secret', 'langflow').stringData['database-url']
      setVariable(green.agent, 'LEADER_LEASE_NAME', 'langflow-leader-lock')
      m.get('Role', 'green-leader').rules[0].resourceNames = ['langflow-leader-lock']
    },
    leaseOf('green'),
    { also: /green-leader-lock/ },
  ),
  error(
    "the second installation's Lease name is a variable of LangFlow's container, where the agent doesn't read it",
    (m) => {
      const staging = m.addTwin('staging')
      dropVariable(staging.agent, 'LEADER_LEASE_NAME')
      setVariable(staging.langflow, 'LEADER_LEASE_NAME', 'staging-leader-lock')
      m.get('Role', 'staging-leader').rules[0].resourceNames = ['langflow-leader-lock']
    },
    leaseOf('staging'),
    { also: /staging-leader-lock/ },
  ),
  error(
    'the second installation has the Lease of the first by a flag, not by a variable',
    (m) => {
      const staging = m.addTwin('staging')
      dropVariable(staging.agent, 'LEADER_LEASE_NAME')
      staging.agent.args = ['agent', '--lease-name=langflow-leader-lock']
      m.get('Role', 'staging-leader').rules[0].resourceNames = ['langflow-leader-lock']
    },
    leaseOf('staging'),
    { also: /staging-leader-lock/ },
  ),
  error(
    'two installations of two namespaces use one Lease of a third namespace',
    (m) => {
      m.intoNamespace('team-a')
      const twin = m.copy()
      twin.intoNamespace('team-b')
      twin.secret['database-url'] = 'postgresql://user:password@host/team-b'
      for (const set of [m, twin]) {
        setVariable(set.agent, 'LEADER_LEASE_NAMESPACE', 'leases')
        set.drop('Lease')
        for (const kind of ['Role', 'RoleBinding'])
          Object.assign(set.get(kind).metadata, {
            name: set.workload.metadata.namespace,
            namespace: 'leases',
          })
        Object.assign(set.get('RoleBinding').roleRef, { name: set.workload.metadata.namespace })
        set.get('RoleBinding').subjects[0].namespace = set.workload.metadata.namespace
      }
      m.objects.push(...twin.objects)
      m.add(
        'apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: { name: langflow-leader-lock, namespace: leases }',
      )
    },
    leaseOf('team-'),
  ),
]

const TWO_LEASES: readonly Row[] = [
  error(
    'two Leases, and one database by the same key of one Secret',
    (m) => {
      const staging = m.addTwin('staging')
      setVariable(staging.langflow, 'LANGFLOW_DATABASE_URL', {
        secretKeyRef: { name: 'langflow', key: 'database-url' },
      })
    },
    databaseOf('staging'),
  ),
  error(
    'two Leases, and one database by the same key of a Secret that is not in the stream',
    (m) => {
      const staging = m.addTwin('staging')
      for (const { langflow } of [m, staging])
        setVariable(langflow, 'LANGFLOW_DATABASE_URL', { secretKeyRef: { name: 'shared', key: 'url' } })
    },
    databaseOf('staging'),
  ),
  error(
    'two Leases, and one database by two Secrets with the same URL',
    (m) => {
      m.addTwin('staging').secret['database-url'] = 'postgresql://user:password@host/langflow'
    },
    databaseOf('staging'),
  ),
  error(
    'two Leases, and one database by a Secret in base64 and a literal URL',
    (m) => {
      const staging = m.addTwin('staging')
      const url = 'postgresql://user:password@host/langflow'
      const secret = m.get('Secret', 'langflow')
      delete secret.stringData['database-url']
      secret.data = { 'database-url': Buffer.from(url).toString('base64') }
      setVariable(staging.langflow, 'LANGFLOW_DATABASE_URL', url)
    },
    databaseOf('staging'),
  ),
  error(
    'two Leases, and one database as two users',
    (m) => {
      m.addTwin('staging').secret['database-url'] = 'postgresql://staging:other@host/langflow'
    },
    databaseOf('staging'),
  ),
  error(
    'two Leases, and one database with other options in the URL',
    (m) => {
      m.addTwin('staging').secret['database-url'] =
        'postgresql://user:password@host/langflow?sslmode=require&connect_timeout=5'
    },
    databaseOf('staging'),
  ),
  error(
    'two Leases, and one database with its default port and another driver in the URL',
    (m) => {
      m.addTwin('staging').secret['database-url'] = 'postgresql+psycopg://user:password@HOST:5432/langflow'
    },
    databaseOf('staging'),
  ),
  error(
    'two Leases, and one database with the old scheme postgres',
    (m) => {
      m.addTwin('staging').secret['database-url'] = 'postgres://user:password@host/langflow'
    },
    databaseOf('staging'),
  ),
  doubt(
    'two Leases, and one database by the short and by the full name of its Service',
    (m) => {
      m.secret['database-url'] = 'postgresql://user:password@postgresql/langflow'
      const staging = m.addTwin('staging')
      staging.secret['database-url'] =
        'postgresql://user:password@postgresql.langflow.svc.cluster.local:5432/langflow'
      m.intoNamespace('langflow')
    },
    databaseOf('staging'),
  ),
  error(
    'two Leases, and one SQLite file on a volume that both mount',
    (m) => {
      const volume = volumeOf(m.pod, 'langflow-state')
      delete volume.emptyDir
      volume.persistentVolumeClaim = { claimName: 'langflow-files' }
      m.secret['database-url'] = 'sqlite:////app/data/langflow.db'
      const staging = m.addTwin('staging')
      staging.secret['database-url'] = m.secret['database-url']
      m.add(claim('langflow-files', 'ReadWriteMany'))
    },
    databaseOf('staging'),
    { also: /sqlite|database|langflow-files/i },
  ),
  error(
    'two Leases, and one database by envFrom of one Secret',
    (m) => {
      const other = m.copy()
      const { workload } = other
      workload.metadata.name = 'other'
      workload.spec.selector.matchLabels.app = 'other'
      workload.spec.template.metadata.labels.app = 'other'
      setVariable(other.agent, 'LEADER_LEASE_NAME', 'other-leader')
      setVariable(other.agent, 'LEADER_PEERS', 'other-members:8090')
      const members = structuredClone(m.members)
      members.metadata.name = 'other-members'
      members.spec.selector.app = 'other'
      m.objects.push(workload, members, { ...m.get('Lease'), metadata: { name: 'other-leader' } })
      m.get('Role').rules[0].resourceNames.push('other-leader')
    },
    databaseOf('other'),
    { base: 'injected' },
  ),
  error(
    'two namespaces have a Lease each, and one database by the same URL',
    (m) => {
      m.secret['database-url'] = 'postgresql://user:password@db.example.org/langflow'
      m.intoNamespace('team-a')
      const twin = m.copy()
      twin.intoNamespace('team-b')
      m.objects.push(...twin.objects)
    },
    databaseOf('team-'),
  ),
  error(
    'a LangFlow without an agent, such as a worker, uses the same database',
    (m) => {
      const { spec, ...worker } = structuredClone(m.workload)
      const { langflow } = m
      m.objects.push({
        ...worker,
        metadata: { name: 'langflow-worker' },
        spec: {
          replicas: 1,
          selector: { matchLabels: { app: 'worker' } },
          template: {
            metadata: { labels: { app: 'worker' } },
            spec: {
              containers: [
                {
                  name: 'langflow',
                  image: langflow.image,
                  command: ['langflow', 'run', '--backend-only'],
                  env: langflow.env,
                },
              ],
            },
          },
        },
      })
    },
    /langflow-worker/,
    { also: /langflow-worker/ },
  ),
  error(
    'a Job runs LangFlow with the same database',
    (m) => m.objects.push(job(m, 'Job', ['langflow', 'run', '--backend-only'])),
    /seed/,
    { also: /seed/ },
  ),
  problem(
    "a CronJob runs LangFlow's migration of the same database",
    (m) => m.objects.push(job(m, 'CronJob', ['langflow', 'migration', '--fix'])),
    /seed/,
  ),
  error(
    'a second container of the pod runs LangFlow without the launcher',
    (m) => {
      m.pod.containers.push({
        name: 'langflow-worker',
        image: m.langflow.image,
        command: ['langflow', 'run', '--backend-only', '--port', '7900'],
        env: structuredClone(m.langflow.env),
      })
    },
    /langflow-worker|container/,
    { also: /langflow-worker|container/ },
  ),
  problem(
    "an init container runs LangFlow's migration before any replica leads",
    (m) => {
      m.pod.initContainers.push({
        name: 'migrate',
        image: m.langflow.image,
        command: ['langflow', 'migration', '--fix'],
        env: structuredClone(m.langflow.env),
      })
    },
    /migrat/,
  ),
]

/** A Job, or CronJob, with LangFlow's image and variables. */
function job(m: ManifestSet, kind: 'Job' | 'CronJob', command: readonly string[]): Loose {
  const { image, env } = m.langflow
  const template = { spec: { restartPolicy: 'Never', containers: [{ name: 'seed', image, command, env }] } }
  const once = { template }
  const spec = kind === 'Job' ? once : { schedule: '0 3 * * *', jobTemplate: { spec: once } }
  return { apiVersion: 'batch/v1', kind, metadata: { name: 'seed' }, spec: structuredClone(spec) }
}

const NAMES: readonly Row[] = [
  error(
    'LEADER_LEASE_NAME lacks the suffix of the Lease and the Role',
    (m) => setVariable(m.agent, 'LEADER_LEASE_NAME', 'langflow-leader'),
    /langflow-leader(?!-)/,
    { also: /lease/i },
  ),
  problem(
    'the Lease has another name than the agent reads',
    (m) => {
      m.get('Lease').metadata.name = 'langflow-leader'
    },
    /lease/i,
  ),
  error(
    'a ConfigMap of the agent has the name of another Lease',
    (m) => {
      dropVariable(m.agent, 'LEADER_LEASE_NAME')
      m.add(`
apiVersion: v1
kind: ConfigMap
metadata: { name: agent }
data: { LEADER_LEASE_NAME: langflow-lock }
`)
      m.agent.envFrom = [{ configMapRef: { name: 'agent' } }]
    },
    /langflow-lock/,
    { also: /lease/i },
  ),
  error(
    'the Role names another Lease',
    (m) => {
      m.get('Role').rules[0].resourceNames = ['langflow-lock']
    },
    /leases?\b/,
    { also: /leases?\b/ },
  ),
  error(
    'LEADER_PEERS names a Service that differs by a letter from the members Service',
    (m) => setVariable(m.agent, 'LEADER_PEERS', 'langflow-member:8090'),
    /langflow-member\b/,
  ),
  error(
    'a nameSuffix changed the members Service, and not LEADER_PEERS',
    (m) => {
      m.members.metadata.name = 'langflow-members-v2'
    },
    /langflow-members/,
  ),
  error(
    'LEADER_PEERS names the Service for users',
    (m) => setVariable(m.agent, 'LEADER_PEERS', 'langflow:7860'),
    /LEADER_PEERS|--peers|headless|langflow:7860|Service\/langflow\b/,
  ),
  error(
    "LEADER_PEERS has the front's port",
    (m) => setVariable(m.agent, 'LEADER_PEERS', 'langflow-members:8091'),
    /8091|8090/,
  ),
  problem(
    'the second installation asks the agents of the first',
    (m) => setVariable(m.addTwin('staging').agent, 'LEADER_PEERS', 'langflow-members:8090'),
    /langflow-members/,
  ),
  problem('the agents are not given to each other', (m) => dropVariable(m.agent, 'LEADER_PEERS'), /peers/i),
  error(
    'the members Service has a cluster IP, so that each agent reaches one random agent',
    (m) => {
      delete m.members.spec.clusterIP
    },
    /clusterIP|headless/,
  ),
  error(
    'the members Service lacks the followers, which are not Ready',
    (m) => {
      delete m.members.spec.publishNotReadyAddresses
    },
    /publishNotReadyAddresses/,
    { base: 'smallest' },
  ),
  error(
    'the members Service is in another namespace than the pods',
    (m) => {
      m.intoNamespace('langflow')
      m.members.metadata.namespace = 'default'
    },
    /namespace|default/,
  ),
  error(
    'the members Service selects no pod',
    (m) => {
      m.members.spec.selector = { 'app.kubernetes.io/name': 'langflow-ide' }
    },
    /langflow-members/,
  ),
  problem(
    'the namespace of the Lease is not the namespace of the agent',
    (m) => {
      m.intoNamespace('langflow')
      m.get('Lease').metadata.namespace = 'default'
    },
    /lease/i,
  ),
  error(
    '--peers names the Service of another namespace',
    (m) => {
      m.intoNamespace('flows')
      setVariable(m.agent, 'LEADER_PEERS', 'langflow-members.default.svc:8090')
    },
    /set LEADER_PEERS to langflow-members:8090/,
  ),
  error(
    "the members' Service leads to the port of the front",
    (m) => {
      m.members.spec.ports[0].targetPort = 8091
    },
    /langflow-members.*set its targetPort to 8090/,
  ),
]

const RIGHTS: readonly Row[] = [
  error('the Role is missing', (m) => m.drop('Role'), /Role/, { also: /Role|lease|event/ }),
  error('the RoleBinding is missing', (m) => m.drop('RoleBinding'), /bind|Role|may not|right/i, {
    also: /bind|Role|lease|event/,
  }),
  error(
    'the Role and its binding are missing, beside the ServiceAccount',
    (m) => {
      m.drop('Role')
      m.drop('RoleBinding')
    },
    /Role|lease/,
    { also: /Role|lease|event/ },
  ),
  ...['get', 'watch', 'update'].map((verb) =>
    error(
      `the Role lacks the verb ${verb}`,
      (m) => {
        const [rule] = m.get('Role').rules
        rule.verbs = rule.verbs.filter((one: string) => one !== verb)
      },
      new RegExp(verb),
    ),
  ),
  warning(
    'the Role lacks the verb create for the Lease',
    (m) => {
      m.get('Role').rules.splice(1, 1)
    },
    /create/,
  ),
  warning(
    'the Role has Events only of the old API group',
    (m) => {
      m.get('Role').rules[2].apiGroups = ['']
    },
    /events/,
  ),
  error(
    'the Role has leases of the core API group',
    (m) => {
      for (const rule of m.get('Role').rules) rule.apiGroups = ['']
    },
    /coordination\.k8s\.io|leases/,
    { also: /leases|events/ },
  ),
  error(
    'the Role names its API group with a version',
    (m) => {
      m.get('Role').rules[0].apiGroups = ['coordination.k8s.io/v1']
    },
    /leases/,
    { also: /leases/ },
  ),
  error(
    'the Role has the resource in the singular',
    (m) => {
      m.get('Role').rules[0].resources = ['lease']
    },
    /leases/,
    { also: /leases/ },
  ),
  error(
    'patch is granted instead of update',
    (m) => {
      m.get('Role').rules[0].verbs = ['get', 'list', 'watch', 'patch']
    },
    /update/,
  ),
  error(
    'the binding is for another account',
    (m) => {
      m.get('RoleBinding').subjects[0].name = 'langflow'
    },
    /langflow-leader|account/i,
    { also: /lease|event/ },
  ),
  error(
    'the subject of the binding is in another namespace',
    (m) => {
      m.intoNamespace('langflow')
      m.get('RoleBinding').subjects[0].namespace = 'default'
    },
    /account|langflow-leader/i,
    { also: /lease|event/ },
  ),
  error(
    'the binding is for a User with the name of the account',
    (m) => {
      m.get('RoleBinding').subjects = [
        { kind: 'User', name: 'langflow-leader', apiGroup: 'rbac.authorization.k8s.io' },
      ]
    },
    /account|langflow-leader/i,
    { also: /lease|event/ },
  ),
  doubt(
    'the binding refers to a ClusterRole that is not in the stream',
    (m) => {
      m.get('RoleBinding').roleRef.kind = 'ClusterRole'
    },
    /Role|lease/,
    { also: /Role|lease|event/ },
  ),
  error(
    'the binding refers to a Role of another name',
    (m) => {
      m.get('RoleBinding').roleRef.name = 'langflow-leader-role'
    },
    /Role|lease/,
    { also: /Role|lease|event/ },
  ),
  error(
    'Role and binding are in the namespace of the pods, and the Lease is in another one',
    (m) => {
      m.intoNamespace('langflow')
      setVariable(m.agent, 'LEADER_LEASE_NAMESPACE', 'leases')
      m.get('Lease').metadata.namespace = 'leases'
    },
    /lease/i,
    { also: /lease/i },
  ),
  error(
    'Role and binding are in another namespace than the pods',
    (m) => {
      m.intoNamespace('langflow')
      for (const kind of ['Role', 'RoleBinding']) m.get(kind).metadata.namespace = 'default'
      m.get('RoleBinding').subjects[0].namespace = 'langflow'
    },
    /lease|Role/,
    { also: /Role|lease|event/ },
  ),
  error(
    'the pods run as the account default',
    (m) => {
      delete m.pod.serviceAccountName
    },
    /default|account/i,
    { also: /lease|event/ },
  ),
  error(
    'the pods run as another account than the bound one, and both are in the stream',
    (m) => {
      m.pod.serviceAccountName = 'langflow'
      m.add('apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: langflow }')
    },
    /langflow|account/i,
    { also: /lease|event/ },
  ),
  doubt(
    'the ServiceAccount of the pods is missing from the stream',
    (m) => m.drop('ServiceAccount'),
    /ServiceAccount|account/i,
  ),
  error(
    'the binding refers to a ClusterRole, and the stream has a Role of that name',
    (m) => {
      m.get('RoleBinding').roleRef.kind = 'ClusterRole'
    },
    /ClusterRole\/langflow-leader.*roleRef/,
  ),
  error(
    'the Role is for the core group',
    (m) => {
      m.get('Role').rules[0].apiGroups = ['']
    },
    /apiGroups \[coordination\.k8s\.io\], resources \[leases\]/,
  ),
  error(
    'the Lease has a holder in its manifest',
    (m) => {
      m.get('Lease').spec = { holderIdentity: 'langflow-0_1', leaseDurationSeconds: 15 }
    },
    /holder.*remove its spec/,
  ),
]

const TOKEN: readonly Row[] = [
  error('the agent has no token, because its mount is missing', (m) => dropMount(m.agent, 'token'), /token/),
  error(
    'the token is mounted at another path',
    (m) => {
      mountOf(m.agent, 'token').mountPath = '/var/run/secrets/token'
    },
    /token|\/var\/run\/secrets/,
  ),
  error(
    "the token is mounted into LangFlow's container, too",
    (m) => m.langflow.volumeMounts.push(structuredClone(mountOf(m.agent, 'token'))),
    /token/,
  ),
  error(
    "LangFlow's container mounts a token of its own for the API server",
    (m) => {
      m.pod.volumes.push({
        name: 'api',
        projected: { sources: [{ serviceAccountToken: { path: 'token' } }] },
      })
      m.langflow.volumeMounts.push({ name: 'api', mountPath: '/api', readOnly: true })
    },
    /token/,
  ),
  error(
    "LangFlow's container mounts the token of the account from a Secret",
    (m) => {
      m.add(`
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata: { name: leader-token, annotations: { kubernetes.io/service-account.name: langflow-leader } }
`)
      m.pod.volumes.push({ name: 'api', secret: { secretName: 'leader-token' } })
      m.langflow.volumeMounts.push({ name: 'api', mountPath: '/api', readOnly: true })
    },
    /token/,
  ),
  error(
    'every container gets a token by automountServiceAccountToken',
    (m) => {
      m.pod.automountServiceAccountToken = true
    },
    /automountServiceAccountToken/,
  ),
  error(
    'neither the pod nor its account turn off the automatic token',
    (m) => {
      delete m.pod.automountServiceAccountToken
      delete m.get('ServiceAccount').automountServiceAccountToken
    },
    /automountServiceAccountToken/,
  ),
  problem(
    'the token is for another audience than the API server',
    (m) => {
      volumeOf(m.pod, 'token').projected.sources[0].serviceAccountToken.audience = 'vault'
    },
    /audience|token/,
  ),
  error(
    'the projected volume has the token in another file',
    (m) => {
      volumeOf(m.pod, 'token').projected.sources[0].serviceAccountToken.path = 'api-token'
    },
    /token/,
  ),
  error(
    'the projected volume lacks the CA of the API server',
    (m) => {
      volumeOf(m.pod, 'token').projected.sources.splice(1, 1)
    },
    /ca\.crt|CA\b|token/,
  ),
  problem(
    'LEADER_KUBECONFIG names a file that no volume has',
    (m) => setVariable(m.agent, 'LEADER_KUBECONFIG', '/etc/langflow-leader/kubeconfig'),
    /kubeconfig/i,
  ),
  error(
    "the agent's token is for a vault",
    (m) => {
      volumeOf(m.pod, 'token').projected.sources[0].serviceAccountToken.audience = 'vault'
    },
    /audience vault/,
  ),
]

const PARTS: readonly Row[] = [
  problem(
    'the agent is an ordinary container, which ends together with LangFlow',
    (m) => {
      const { restartPolicy: _r, ...agent } = m.agent
      m.pod.initContainers = [m.install]
      m.pod.containers.push(agent)
    },
    /sidecar|initContainers|restartPolicy/,
  ),
  error(
    'the agent is an init container without restartPolicy, so that LangFlow never starts',
    (m) => {
      // The API server refuses probes of such a container.
      for (const field of ['restartPolicy', 'startupProbe', 'livenessProbe', 'readinessProbe'])
        delete m.agent[field]
    },
    /restartPolicy/,
    { also: /Probe/ },
  ),
  error(
    'the agent is missing',
    (m) => {
      m.pod.initContainers = [m.install]
    },
    /agent/,
    { also: /agent|langflow/i },
  ),
  error(
    'the init container that copies the launcher is missing',
    (m) => {
      m.pod.initContainers = [m.agent]
    },
    /install/,
    { also: /install|program/ },
  ),
  error(
    'install copies to another directory than the command of LangFlow names',
    (m) => {
      m.install.args = ['install', '/usr/local/langflow-leader']
    },
    /install|\/opt\/langflow-leader|\/usr\/local\/langflow-leader/,
  ),
  error(
    "install copies to a volume that is not mounted in LangFlow's container",
    (m) => {
      m.pod.volumes.push({ name: 'bin', emptyDir: {} })
      mountOf(m.install, 'program').name = 'bin'
    },
    /install|program|bin|\/opt\/langflow-leader/,
  ),
  error(
    'install may not write to its volume',
    (m) => {
      mountOf(m.install, 'program').readOnly = true
    },
    /install|readOnly|read-only/,
  ),
  error(
    "LangFlow's container doesn't mount the launcher",
    (m) => dropMount(m.langflow, 'program'),
    /program|\/opt\/langflow-leader/,
    { also: /program|\/opt\/langflow-leader|launcher/ },
  ),
  warning(
    'install and agent are of two versions',
    (m) => {
      m.install.image = 'langflow-leader:0.2.0'
    },
    /0\.2\.0|version|image/,
  ),
  warning(
    'the agent is of another version by its digest',
    (m) => {
      m.agent.image = `langflow-leader@sha256:${'a'.repeat(64)}`
    },
    /sha256|version|image/,
  ),
  error(
    'LangFlow runs without the launcher',
    (m) => {
      delete m.langflow.command
    },
    /launch/,
    { also: /launch/ },
  ),
  error(
    'the launcher has no command to start',
    (m) => {
      m.langflow.args = []
    },
    /launch|command/,
    { also: /launch|command|port/ },
  ),
  error(
    "tini is PID 1 of LangFlow's container, not the launcher",
    (m) => {
      m.langflow.command = ['/opt/langflow-leader/tini', '--', ...m.langflow.command]
    },
    /PID 1|launch/,
    { also: /PID 1|launch/ },
  ),
  error(
    'the pod shares its process namespace',
    (m) => {
      m.pod.shareProcessNamespace = true
    },
    /shareProcessNamespace/,
  ),
  error(
    "the pod has the node's processes",
    (m) => {
      m.pod.hostPID = true
    },
    /hostPID/,
  ),
  error(
    "the pod has the node's network",
    (m) => {
      m.pod.hostNetwork = true
    },
    /hostNetwork/,
  ),
  problem(
    "LangFlow's container is privileged, so that a flow can trace its launcher",
    (m) => {
      m.langflow.securityContext = { privileged: true, runAsUser: 0, runAsNonRoot: false }
    },
    /privileged|root|runAsUser/,
    { also: /privileged|root|runAsUser/ },
  ),
  error(
    'the pod has two agents, because the manifest was changed by inject twice in two ways',
    (m) => {
      const second = structuredClone(m.agent)
      second.name = 'agent-2'
      m.pod.initContainers.push(second)
    },
    /agent-2/,
    { also: /agent-2/ },
  ),
  problem(
    "LangFlow's container may trace any process",
    (m) => {
      m.langflow.securityContext = {
        runAsUser: 0,
        runAsNonRoot: false,
        capabilities: { add: ['SYS_PTRACE'] },
      }
    },
    /SYS_PTRACE|root|runAsUser/,
    { also: /SYS_PTRACE|root|runAsUser/ },
  ),
  error(
    'LangFlow runs as another user than the agent, and no group is common',
    (m) => {
      delete m.pod.securityContext.fsGroup
      delete m.pod.securityContext.runAsGroup
      m.langflow.securityContext.runAsUser = 1001
    },
    /fsGroup|runAsUser|user/,
  ),
  error(
    'a sidecar listens on the port of the agent',
    (m) => m.pod.containers.push({ name: 'proxy', image: 'nginx:1', ports: [{ containerPort: 8090 }] }),
    /8090/,
  ),
  error(
    'a sidecar listens on the port of the front',
    (m) => m.pod.containers.push({ name: 'proxy', image: 'nginx:1', ports: [{ containerPort: 8091 }] }),
    /8091/,
  ),
  problem(
    'the pods resolve names by the DNS of the node, which lacks the members Service',
    (m) => {
      m.pod.dnsPolicy = 'Default'
    },
    /dnsPolicy|DNS/,
  ),
  error(
    'a shell starts the launcher, and stays the first process',
    (m) => {
      const launcher = m.langflow.command.join(' ')
      m.langflow.command = [...SHELL, `${launcher} langflow run --host 127.0.0.1 --port 7860; echo ended`]
      delete m.langflow.args
    },
    /shell.*launcher/,
  ),
  error(
    "the agent's volume was removed, and its mount was not",
    (m) => {
      m.pod.volumes = m.pod.volumes.filter(({ name }: Loose) => name !== 'agent-state')
    },
    /mounts the volume agent-state, which the pod does not have/,
  ),
  error(
    "the Deployment's selector was renamed, and the labels of its pods were not",
    (m) => {
      m.workload.spec.selector.matchLabels = { app: 'langflow' }
    },
    /selector of Deployment\/langflow does not match/,
  ),
  error(
    'LangFlow runs as root in a pod that refuses root',
    (m) => {
      m.langflow.securityContext.runAsUser = 0
    },
    /langflow has runAsNonRoot and runAsUser 0/,
  ),
]

/** Changes the probe of a container to a GET of this path and port. */
const asking = (path: string, port: number | string) => ({
  httpGet: { path, port },
  periodSeconds: 5,
  timeoutSeconds: 3,
})

const PROBES: readonly Row[] = [
  error(
    'the agent has no readiness probe, so that every pod is Ready',
    (m) => {
      delete m.agent.readinessProbe
    },
    /readiness/i,
  ),
  error(
    'the agent has no readiness probe in readiness mode',
    (m) => {
      delete m.agent.readinessProbe
    },
    /readiness/i,
    { base: 'smallest' },
  ),
  error(
    'the readiness probe has the path of another product',
    (m) => {
      m.agent.readinessProbe.httpGet.path = '/healthz'
    },
    /healthz|frontz/,
  ),
  error(
    'the readiness probe asks the front, not the agent',
    (m) => {
      m.agent.readinessProbe.httpGet.port = 8091
    },
    /8091|8090|port/,
  ),
  error(
    'the readiness probe uses HTTPS',
    (m) => {
      m.agent.readinessProbe.httpGet.scheme = 'HTTPS'
    },
    /HTTPS|scheme/,
  ),
  error(
    'the readiness probe only opens a TCP connection',
    (m) => {
      m.agent.readinessProbe = { tcpSocket: { port: 8090 } }
    },
    /readiness|readyz/i,
    { base: 'smallest' },
  ),
  error(
    'the probes name a port that the container has no more',
    (m) => {
      m.agent.ports = []
    },
    /agent|port/,
  ),
  error(
    'the readiness probe asks /frontz in readiness mode',
    (m) => {
      m.agent.readinessProbe.httpGet.path = '/frontz'
    },
    /frontz|readyz/,
    { base: 'smallest' },
  ),
  error(
    'the readiness probe asks /readyz in front mode, so that standbys are never Ready',
    (m) => {
      m.agent.readinessProbe.httpGet.path = '/readyz'
    },
    /readyz|frontz/,
    { also: /Ready|rollout|surge|unavailable|PodDisruptionBudget/i },
  ),
  error(
    'the readiness probe counts followers in readiness mode',
    (m) => {
      m.agent.readinessProbe.httpGet.path = '/readyz?exclude=leadership'
    },
    /exclude=leadership|readyz/,
    { base: 'smallest' },
  ),
  problem(
    'the gate closes only after three failures of 10 s, the defaults of Kubernetes',
    (m) => {
      m.agent.readinessProbe = { httpGet: { path: '/readyz', port: 'agent' } }
    },
    /failureThreshold|periodSeconds|gate/,
    { base: 'smallest' },
  ),
  error(
    'the liveness probe of the agent restarts every follower',
    (m) => {
      m.agent.livenessProbe.httpGet.path = '/readyz'
    },
    /liveness|livez|readyz/i,
    { base: 'smallest' },
  ),
  error(
    "the startup probe of the agent waits for leadership, before LangFlow's container exists",
    (m) => {
      m.agent.startupProbe.httpGet.path = '/readyz'
    },
    /startup|livez|readyz/i,
    { base: 'smallest' },
  ),
  error(
    "LangFlow's liveness probe waits for leadership",
    (m) => {
      m.langflow.livenessProbe = asking('/readyz', 8090)
    },
    /liveness|workloadz|readyz/i,
  ),
  error(
    "LangFlow's startup probe waits for leadership",
    (m) => {
      m.langflow.startupProbe = asking('/readyz', 8090)
    },
    /startup|workloadz|readyz/i,
  ),
  problem(
    'no liveness probe restarts an agent that is stuck',
    (m) => {
      delete m.agent.livenessProbe
    },
    /liveness/i,
  ),
  problem(
    'no liveness probe restarts a launcher that is stuck',
    (m) => {
      delete m.langflow.livenessProbe
    },
    /liveness/i,
  ),
  problem(
    "LangFlow's liveness probe asks whether the agent lives, not the launcher",
    (m) => {
      m.langflow.livenessProbe = asking('/livez', 8090)
    },
    /liveness|workloadz|livez/i,
  ),
  error(
    "a liveness probe kills every standby, because it asks LangFlow's port",
    (m) => {
      m.langflow.livenessProbe = asking('/health', 7860)
    },
    /liveness|7860|health/i,
  ),
  error(
    "a liveness probe asks LangFlow's port by its name",
    (m) => {
      m.langflow.livenessProbe = asking('/health_check', 'langflow')
    },
    /liveness|7860|health/i,
  ),
  error(
    "a liveness probe opens a TCP connection to LangFlow's port",
    (m) => {
      m.langflow.livenessProbe = { tcpSocket: { port: 7860 } }
    },
    /liveness|7860/i,
  ),
  error(
    "a startup probe waits for LangFlow's port on a standby",
    (m) => {
      m.langflow.startupProbe = { ...asking('/health', 7860), failureThreshold: 60 }
    },
    /startup|7860|health/i,
  ),
  error(
    "a readiness probe asks LangFlow's port, so that no standby becomes Ready",
    (m) => {
      m.langflow.readinessProbe = asking('/health', 7860)
    },
    /readiness|7860|health/i,
  ),
  doubt(
    'a liveness probe calls LangFlow with curl',
    (m) => {
      m.langflow.livenessProbe = {
        exec: { command: ['sh', '-c', 'curl --fail http://localhost:7860/health'] },
      }
    },
    /liveness|exec|curl|7860/i,
  ),
]

const STOPPING: readonly Row[] = [
  error(
    'the pod has only the default of 30 s for its end',
    (m) => {
      delete m.pod.terminationGracePeriodSeconds
    },
    /terminationGracePeriodSeconds|grace/,
  ),
  error(
    'the grace period of front mode has no time for held requests',
    (m) => {
      m.pod.terminationGracePeriodSeconds = 30
    },
    /terminationGracePeriodSeconds|grace/,
  ),
  error(
    'the grace period is shorter than the stop of LangFlow',
    (m) => {
      m.pod.terminationGracePeriodSeconds = 20
    },
    /terminationGracePeriodSeconds|grace/,
    { base: 'stateful-set' },
  ),
  error(
    'the drain timeout was raised without the grace period',
    (m) => setVariable(m.agent, 'LEADER_DRAIN_TIMEOUT', '2m'),
    /terminationGracePeriodSeconds|grace/,
  ),
  error(
    'the hold timeout was raised without the grace period',
    (m) => setVariable(m.agent, 'LEADER_HOLD_TIMEOUT', '2m'),
    /terminationGracePeriodSeconds|grace/,
  ),
  problem(
    "a preStop hook of LangFlow's container uses up the grace period",
    (m) => {
      m.langflow.lifecycle = { preStop: { sleep: { seconds: 60 } } }
    },
    /preStop|grace/i,
  ),
  warning(
    'only the agent has a longer stop timeout',
    (m) => {
      setVariable(m.agent, 'LEADER_STOP_TIMEOUT', '60s')
      m.pod.terminationGracePeriodSeconds = 120
    },
    /stop-timeout|STOP_TIMEOUT/,
  ),
]

const VOLUMES: readonly Row[] = [
  error(
    "LangFlow's container doesn't mount the socket",
    (m) => dropMount(m.langflow, 'socket'),
    /socket|\/run\/langflow-leader/,
  ),
  error(
    "the agent doesn't mount the socket",
    (m) => dropMount(m.agent, 'socket'),
    /socket|\/run\/langflow-leader/,
  ),
  error(
    'agent and launcher have a volume each for the socket',
    (m) => {
      m.pod.volumes.push({ name: 'socket-2', emptyDir: {} })
      mountOf(m.langflow, 'socket').name = 'socket-2'
    },
    /socket|\/run\/langflow-leader/,
  ),
  error(
    'agent and launcher have two directories of one volume for the socket',
    (m) => {
      mountOf(m.langflow, 'socket').subPath = 'run'
    },
    /socket|subPath/,
  ),
  error(
    'a flow can replace the socket',
    (m) => {
      delete mountOf(m.langflow, 'socket').readOnly
    },
    /readOnly|read-only|socket/,
  ),
  error(
    'a flow can write the socket directory by a second mount',
    (m) => m.langflow.volumeMounts.push({ name: 'socket', mountPath: '/mnt/socket' }),
    /readOnly|read-only|socket/,
  ),
  error(
    'a flow can replace the launcher',
    (m) => {
      mountOf(m.langflow, 'program').readOnly = false
    },
    /readOnly|read-only|program/,
  ),
  error(
    "the agent's state is mounted into LangFlow's container",
    (m) => m.langflow.volumeMounts.push({ name: 'agent-state', mountPath: '/var/lib/langflow-leader' }),
    /agent-state|\/var\/lib\/langflow-leader|state/,
  ),
  problem(
    'the agent has no volume for its state, on a read-only root',
    (m) => dropMount(m.agent, 'agent-state'),
    /agent-state|\/var\/lib\/langflow-leader|state/,
  ),
  problem(
    "the agents of all replicas have one volume for their state, 'to keep it'",
    (m) => {
      const volume = volumeOf(m.pod, 'agent-state')
      delete volume.emptyDir
      volume.persistentVolumeClaim = { claimName: 'agent-state' }
      m.add(claim('agent-state', 'ReadWriteMany'))
    },
    /agent-state|state/,
  ),
  problem(
    'the sockets of all replicas are on one volume',
    (m) => {
      const volume = volumeOf(m.pod, 'socket')
      delete volume.emptyDir
      volume.persistentVolumeClaim = { claimName: 'sockets' }
      m.add(claim('sockets', 'ReadWriteMany'))
    },
    /socket/,
  ),
  error(
    'the agent mounts the socket directory read-only',
    (m) => {
      mountOf(m.agent, 'socket').readOnly = true
    },
    /readOnly|read-only|socket/,
  ),
  error(
    'only the agent has another path for the socket',
    (m) => setVariable(m.agent, 'LEADER_SOCKET', '/run/langflow-leader/agent.sock'),
    /socket|agent\.sock/i,
  ),
  error(
    'the volume of the program is smaller than the program',
    (m) => {
      volumeOf(m.pod, 'program').emptyDir.sizeLimit = '64Mi'
    },
    /sizeLimit.*program/,
  ),
  error(
    'the volume of the program is in memory, which install may not use',
    (m) => {
      volumeOf(m.pod, 'program').emptyDir.medium = 'Memory'
    },
    /program is in memory/,
  ),
  error(
    "the volume of LangFlow's files is no longer mounted, and its root is read-only",
    (m) => dropMount(m.langflow, 'langflow-state'),
    /no writable volume is mounted at \/app\/data/,
  ),
  problem(
    'nothing is mounted at /tmp, and the root is read-only',
    (m) => dropMount(m.langflow, 'tmp'),
    /mount an emptyDir at \/tmp/,
  ),
  error(
    'LangFlow mounts another directory of the program',
    (m) => {
      mountOf(m.langflow, 'program').subPath = 'bin'
    },
    /no init container installs the program/,
  ),
]

const IDENTITY: readonly Row[] = [
  error(
    'every replica has the same literal identity',
    (m) => setVariable(m.agent, 'LEADER_IDENTITY', 'langflow'),
    /identity/i,
  ),
  error(
    'every replica has the same identity by a flag',
    (m) => {
      m.agent.args = ['agent', '--identity=langflow']
    },
    /identity/i,
  ),
  error(
    'the identity is made of a variable that Kubernetes does not insert',
    (m) => setVariable(m.agent, 'LEADER_IDENTITY', '$(HOSTNAME)'),
    /identity/i,
  ),
  problem('the identity lacks the UID of the pod', (m) => dropVariable(m.agent, 'POD_UID'), /POD_UID/),
  problem(
    "POD_NAME is the Deployment's name",
    (m) => setVariable(m.agent, 'POD_NAME', 'langflow'),
    /POD_NAME/,
  ),
  problem(
    'POD_UID is the same text in every pod',
    (m) => setVariable(m.agent, 'POD_UID', '7f2c6d0e-0000-4000-8000-000000000000'),
    /POD_UID/,
  ),
  error(
    'the front has no address, because POD_IP is missing',
    (m) => dropVariable(m.agent, 'POD_IP'),
    /POD_IP|front-address/,
  ),
  error(
    "the front has the node's address",
    (m) => setVariable(m.agent, 'POD_IP', { fieldRef: { fieldPath: 'status.hostIP' } }),
    /POD_IP|hostIP|front-address/,
  ),
  problem(
    'every front has the address of the Service',
    (m) => setVariable(m.agent, 'LEADER_FRONT_ADDRESS', 'langflow:7860'),
    /front-address|FRONT_ADDRESS/,
  ),
  problem(
    "the agent can't read the revision of its pod, so that no rollout is protected",
    (m) => dropVariable(m.agent, 'POD_TEMPLATE_HASH'),
    /POD_TEMPLATE_HASH|revision/,
  ),
  problem(
    "an agent of a StatefulSet can't read the revision of its pod",
    (m) => dropVariable(m.agent, 'CONTROLLER_REVISION_HASH'),
    /CONTROLLER_REVISION_HASH|revision/,
    { base: 'stateful-set' },
  ),
]

/** Mistakes in one variable of the agent, which the agent refuses at its start. */
const SETTINGS: readonly Row[] = [
  ...(
    [
      [
        'the lease duration is as long as the renew deadline',
        'LEADER_LEASE_DURATION',
        '10s',
        /lease-duration|LEASE_DURATION/,
      ],
      [
        'the lease duration leaves no time for the kill margin',
        'LEADER_LEASE_DURATION',
        '11s',
        /lease-duration|LEASE_DURATION/,
      ],
      ['the lease duration is not in whole seconds', 'LEADER_LEASE_DURATION', '14500ms', /whole seconds/],
      ['a duration has no unit', 'LEADER_LEASE_DURATION', '15', /LEASE_DURATION|lease-duration/],
      ['the retry period is as long as the renew deadline', 'LEADER_RETRY_PERIOD', '10s', /retry|renew/],
      [
        'the kill margin reaches into the renew deadline',
        'LEADER_KILL_MARGIN',
        '5s',
        /kill-margin|KILL_MARGIN/,
      ],
      ['the name of a variable has a typo', 'LEADER_LEASE_DURATON', '15s', /LEADER_LEASE_DURATON/],
      ['the traffic mode does not exist', 'LEADER_TRAFFIC', 'fronts', /TRAFFIC|traffic/],
      ['the standby mode is one of version 0.1', 'LEADER_STANDBY', 'prewarmed', /STANDBY|standby/],
      ['streams may last longer than the drain', 'LEADER_STREAM_GRACE', '20s', /stream-grace|STREAM_GRACE/],
      ['agent and front have one port', 'LEADER_FRONT_LISTEN', ':8090', /front-listen|FRONT_LISTEN|8090/],
      ['front mode has a target with TLS', 'LEADER_TARGET', 'https://127.0.0.1:7860', /https|target/i],
      ['the peers have no port', 'LEADER_PEERS', 'langflow-members', /PEERS|peers|port/],
      ['the log level does not exist', 'LEADER_LOG_LEVEL', 'verbose', /LOG_LEVEL|log-level/],
    ] as const
  ).map(([name, variable, value, says]) =>
    error(name, (m) => setVariable(m.agent, variable, value), says, { also: new RegExp(value) }),
  ),
  error(
    'the lease duration is shorter than the renew deadline',
    (m) => setVariable(m.agent, 'LEADER_LEASE_DURATION', '6s'),
    /lease-duration/,
  ),
  error(
    'a flag of the agent does not exist',
    (m) => {
      m.agent.args = ['agent', '--lease=langflow-leader-lock']
    },
    /--lease\b/,
  ),
  error(
    "a setting comes from a ConfigMap's key that does not exist",
    (m) => {
      m.add('apiVersion: v1\nkind: ConfigMap\nmetadata: { name: timings }\ndata: { duration: 15s }')
      setVariable(m.agent, 'LEADER_LEASE_DURATION', {
        configMapKeyRef: { name: 'timings', key: 'lease-duration' },
      })
    },
    /lease-duration|timings/,
  ),
  problem(
    'LangFlow must be healthy sooner than it can start',
    (m) => setVariable(m.agent, 'LEADER_START_TIMEOUT', '10s'),
    /start-timeout|START_TIMEOUT/,
  ),
  problem(
    'failsafe is on, and the agents are not given to each other',
    (m) => {
      setVariable(m.agent, 'LEADER_FAILSAFE', 'peers')
      dropVariable(m.agent, 'LEADER_PEERS')
    },
    /failsafe|peers/i,
    { also: /peers|failsafe/i },
  ),
  error(
    'a variable of the drill has a typo',
    (m) => addDrill(m, { name: 'LEADER_RTOO', value: '5s' }),
    /CronJob\/drill.*LEADER_RTOO/,
  ),
  error(
    'the drill asks for another Lease',
    (m) => addDrill(m, { name: 'LEADER_LEASE_NAME', value: 'flows' }),
    /CronJob\/drill.*Lease flows/,
  ),
]

const FRONT: readonly Row[] = [
  error(
    'front mode holds requests for 30 s, and a cold standby starts in 37 s after a Lease of 15 s',
    (m) => dropVariable(m.agent, 'LEADER_STANDBY'),
    /hold/i,
  ),
  error(
    'front mode holds requests for a shorter time than the lease duration',
    (m) => setVariable(m.agent, 'LEADER_HOLD_TIMEOUT', '10s'),
    /hold/i,
  ),
  error(
    'a longer lease duration exceeds the hold timeout',
    (m) => {
      setVariable(m.agent, 'LEADER_LEASE_DURATION', '60s')
      setVariable(m.agent, 'LEADER_RENEW_DEADLINE', '40s')
    },
    /hold/i,
  ),
  error(
    'a shell makes the standby cold, although warm is requested',
    (m) => {
      m.langflow.args = [
        ...SHELL,
        'uv pip install --quiet aiobotocore && langflow run --host 127.0.0.1 --port 7860',
      ]
    },
    /cold|warm|hold/,
    { also: /cold|warm|hold/ },
  ),
  error(
    'a shell makes the standby cold in readiness mode, although warm is requested',
    (m) => {
      setVariable(m.agent, 'LEADER_STANDBY', 'warm')
      m.langflow.args = [
        ...SHELL,
        'curl -o /tmp/a.json https://flows.example.org/a.json; langflow run --host 0.0.0.0',
      ]
    },
    /cold|warm/,
    { base: 'smallest' },
  ),
  doubt(
    'a script starts LangFlow, although warm is requested',
    (m) => {
      m.langflow.args = ['/app/start.sh']
    },
    /cold|warm|start\.sh/,
    { also: /cold|warm|hold|start\.sh/ },
  ),
  error(
    'uv starts LangFlow, although warm is requested',
    (m) => {
      m.langflow.args = ['uv', 'run', 'langflow', 'run', '--host', '127.0.0.1', '--port', '7860']
    },
    /cold|warm/,
    { also: /cold|warm|hold/ },
  ),
  error(
    'LangFlow listens on an address where the agent does not find it',
    (m) => {
      m.langflow.args = ['langflow', 'run', '--host', '::1', '--port', '7860']
    },
    /host|::1|target/i,
  ),
  doubt(
    "LangFlow listens only on the pod's address, where the agent does not find it",
    (m) => {
      setVariable(m.langflow, 'POD_IP', { fieldRef: { fieldPath: 'status.podIP' } })
      m.langflow.args = ['langflow', 'run', '--host', '$(POD_IP)', '--port', '7860']
    },
    /host|target|POD_IP/,
  ),
  error(
    'LangFlow listens only on the loopback address in readiness mode',
    (m) => {
      m.langflow.args = ['langflow', 'run', '--host', '127.0.0.1', '--port', '7860']
    },
    /host|127\.0\.0\.1/,
    { base: 'smallest' },
  ),
  error(
    'LANGFLOW_HOST is the loopback address in readiness mode',
    (m) => {
      m.langflow.args = ['langflow', 'run', '--port', '7860']
      setVariable(m.langflow, 'LANGFLOW_HOST', '127.0.0.1')
    },
    /host|127\.0\.0\.1/i,
    { base: 'smallest' },
  ),
]

const PORTS: readonly Row[] = [
  error(
    "LangFlow's port was changed without the target",
    (m) => {
      m.langflow.args = ['langflow', 'run', '--host', '127.0.0.1', '--port', '7861']
    },
    /7861|7860|target/i,
  ),
  error(
    'a shell script starts LangFlow on another port',
    (m) => startBy(m, 'langflow run --host 0.0.0.0 --port 9000'),
    /9000|7860|target/i,
    { base: 'injected' },
  ),
  error(
    "the target was changed without LangFlow's port",
    (m) => setVariable(m.agent, 'LEADER_TARGET', 'http://127.0.0.1:8080'),
    /8080|7860|target/i,
  ),
  error(
    "LANGFLOW_PORT changes LangFlow's port",
    (m) => {
      m.langflow.args = ['langflow', 'run', '--host', '127.0.0.1']
      setVariable(m.langflow, 'LANGFLOW_PORT', '9000')
    },
    /9000|7860|target/i,
  ),
  problem(
    'the Service sends requests to a port on which no process listens',
    (m) => {
      m.service.spec.ports[0].targetPort = 8080
    },
    /8080|8091/,
  ),
  error(
    'the Service names a port that no container has',
    (m) => {
      m.service.spec.ports[0].targetPort = 'web'
    },
    /web/,
  ),
  error(
    'the Service bypasses the front',
    (m) => {
      m.service.spec.ports[0].targetPort = 7860
    },
    /7860|front|8091/,
  ),
  error(
    'the Service has no targetPort, so that its port bypasses the front',
    (m) => {
      delete m.service.spec.ports[0].targetPort
    },
    /7860|front|8091/,
  ),
  error(
    "the port named http is still LangFlow's in front mode",
    (m) => {
      m.langflow.ports = [{ name: 'http', containerPort: 7860 }]
    },
    /http|7860|8091/,
  ),
  error(
    'a second Service for the load balancer bypasses the front',
    (m) => {
      const second = structuredClone(m.service)
      second.metadata.name = 'langflow-lb'
      second.spec.type = 'LoadBalancer'
      second.spec.ports = [{ port: 80, targetPort: 7860 }]
      m.objects.push(second)
    },
    /langflow-lb/,
  ),
  error(
    'the Service for users also has the pods that are not Ready',
    (m) => {
      m.service.spec.publishNotReadyAddresses = true
    },
    /publishNotReadyAddresses/,
    { base: 'smallest' },
  ),
  problem(
    'the Service sends requests to the port of a front in readiness mode',
    (m) => {
      m.service.spec.ports[0].targetPort = 8091
    },
    /8091|7860/,
    { base: 'smallest' },
  ),
  problem(
    'the Service also selects the pods of a second installation, by a label that both have',
    (m) => {
      const part = { 'app.kubernetes.io/part-of': 'langflow' }
      for (const { workload } of [m, m.addTwin('staging')])
        Object.assign(workload.spec.template.metadata.labels, part)
      m.service.spec.selector = part
    },
    /staging/,
  ),
  problem(
    'the selector of the Service has a typo, so that it selects no pod',
    (m) => {
      m.service.spec.selector = { 'app.kubernetes.io/name': 'lanflow' }
    },
    /Service\/langflow|selector|lanflow/,
  ),
  problem(
    'the Service also selects the pods of another Deployment',
    (m) => {
      const labels = m.workload.spec.template.metadata.labels
      m.add(`
apiVersion: apps/v1
kind: Deployment
metadata: { name: docs }
spec:
  selector: { matchLabels: { app: docs } }
  template:
    metadata: { labels: ${JSON.stringify({ ...labels, app: 'docs' })} }
    spec: { containers: [{ name: nginx, image: "nginx:1", ports: [{ name: http, containerPort: 80 }] }] }
`)
    },
    /docs|select/,
    { also: /docs/ },
  ),
  error(
    'the agent listens on another port than its probes and peers ask',
    (m) => setVariable(m.agent, 'LEADER_LISTEN', ':9090'),
    /9090|8090/,
    { also: /9090|8090/ },
  ),
  error(
    'the agent listens only on the loopback address, where neither the kubelet nor a peer asks',
    (m) => setVariable(m.agent, 'LEADER_LISTEN', '127.0.0.1:8090'),
    /listen|127\.0\.0\.1/i,
    { also: /127\.0\.0\.1|listen|8090/i },
  ),
  error(
    'the front listens on another port than the Service has',
    (m) => setVariable(m.agent, 'LEADER_FRONT_LISTEN', ':8092'),
    /8092|8091/,
    { also: /8092|8091/ },
  ),
  error(
    'the front listens only on the loopback address',
    (m) => setVariable(m.agent, 'LEADER_FRONT_LISTEN', '127.0.0.1:8091'),
    /front|127\.0\.0\.1/i,
    { also: /127\.0\.0\.1|front|8091/i },
  ),
]

const NETWORK: readonly Row[] = [
  error(
    'the NetworkPolicy keeps the agents apart, because monitoring is the only one that may call them',
    (m) => {
      m.get('NetworkPolicy').spec.ingress.splice(1, 1)
    },
    /NetworkPolicy/,
    { also: /NetworkPolicy/ },
  ),
  doubt(
    'the NetworkPolicy keeps the fronts apart, unless their own namespace has the label of clients',
    (m) => {
      m.get('NetworkPolicy').spec.ingress[1].ports = [{ port: 8090 }]
    },
    /8091|front/,
  ),
  error(
    'the NetworkPolicy keeps the fronts apart',
    (m) => {
      const [clients, replicas] = m.get('NetworkPolicy').spec.ingress
      clients.from.splice(1, 1)
      replicas.ports = [{ port: 8090 }]
    },
    /8091|front/,
  ),
  error(
    'the NetworkPolicy allows connections from pods with an old label',
    (m) => {
      m.get('NetworkPolicy').spec.ingress[1].from[0].podSelector.matchLabels = { app: 'langflow' }
    },
    /NetworkPolicy/,
    { also: /NetworkPolicy/ },
  ),
  error(
    'the NetworkPolicy allows the replicas only as pods of another namespace',
    (m) => {
      m.intoNamespace('langflow')
      m.get('NetworkPolicy').spec.ingress[1].from[0].namespaceSelector = {
        matchLabels: { 'kubernetes.io/metadata.name': 'default' },
      }
    },
    /NetworkPolicy/,
    { also: /NetworkPolicy/ },
  ),
  error(
    'the NetworkPolicy allows the port of the agents only for UDP',
    (m) => {
      m.get('NetworkPolicy').spec.ingress[1].ports = [
        { port: 8090, protocol: 'UDP' },
        { port: 8091, protocol: 'TCP' },
      ]
    },
    /NetworkPolicy/,
  ),
  error(
    'a policy of the namespace denies all ingress, and no policy allows the replicas',
    (m) => {
      const policy = m.get('NetworkPolicy')
      policy.metadata.name = 'default-deny'
      policy.spec = { podSelector: {}, policyTypes: ['Ingress'] }
    },
    /default-deny/,
    { also: /default-deny/ },
  ),
  error(
    'a policy of the namespace denies all egress',
    (m) => {
      m.add(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: no-egress }
spec: { podSelector: {}, policyTypes: [Egress] }
`)
    },
    /no-egress/,
    { also: /no-egress/ },
  ),
  error(
    'egress reaches the API server, DNS and the replicas on every port, and not the database',
    (m) =>
      m.add(
        egress([
          API,
          DNS,
          '{ to: [{ podSelector: { matchLabels: { app.kubernetes.io/name: langflow } } }] }',
        ]),
      ),
    /database|5432/,
  ),
  error(
    'egress reaches the usual port of PostgreSQL, and the database has another one',
    (m) => {
      m.secret['database-url'] = 'postgresql://user:password@host:6432/langflow'
      m.add(egress([API, DNS, REPLICAS, '{ ports: [{ port: 5432 }] }']))
    },
    /database|6432/,
  ),
  doubt(
    'the NetworkPolicy lets only the replicas reach the front',
    (m) => {
      const { spec } = m.get('NetworkPolicy')
      spec.ingress = [spec.ingress[1]]
    },
    /client/,
  ),
  doubt(
    "the NetworkPolicy lets clients reach LangFlow's own port, and not the front",
    (m) => {
      m.get('NetworkPolicy').spec.ingress[0].ports = [{ port: 7860 }]
    },
    /client/,
  ),
  error(
    'egress is only possible within the namespace',
    (m) => m.add(egress(['{ to: [{ podSelector: {} }] }'])),
    /API server/,
    { also: /langflow-egress/ },
  ),
  error(
    'egress reaches DNS, the database and the replicas, and not the API server',
    (m) => m.add(egress([DNS, '{ ports: [{ port: 5432 }] }', REPLICAS])),
    /API server/,
  ),
  error(
    'egress reaches the API server and the replicas, and no DNS',
    (m) => m.add(egress([API, REPLICAS])),
    /DNS/,
  ),
  error(
    'egress reaches the API server and DNS, and no replica',
    (m) => m.add(egress([API, DNS])),
    /replica|8090/,
  ),
  error(
    'the policy opens the port of the fronts only to clients',
    (m) => {
      m.get('NetworkPolicy').spec.ingress[1].ports.pop()
    },
    /blocks connections between the fronts/,
  ),
]

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

const DNS = '{ ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }] }'
const API = '{ ports: [{ port: 443 }, { port: 6443 }] }'
const REPLICAS =
  '{ to: [{ podSelector: { matchLabels: { app.kubernetes.io/name: langflow } } }], ports: [{ port: 8090 }, { port: 8091 }] }'

function claim(name: string, mode: string): string {
  return `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: ${name} }
spec: { accessModes: [${mode}], resources: { requests: { storage: 10Gi } } }
`
}

const STATE: readonly Row[] = [
  error(
    'LangFlow has no database, so that each pod has its own SQLite',
    (m) => dropVariable(m.langflow, 'LANGFLOW_DATABASE_URL'),
    /LANGFLOW_DATABASE_URL|SQLite|database/,
  ),
  error(
    'the optional key of the database is missing in the Secret, so that each pod has its own SQLite',
    (m) => {
      delete m.secret['database-url']
    },
    /LANGFLOW_DATABASE_URL|SQLite|database/,
    { base: 'smallest' },
  ),
  error(
    'each pod has its own database by its name',
    (m) => {
      m.langflow.env.unshift({ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } })
      setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://user:password@host/$(POD)')
    },
    /database/i,
    { base: 'stateful-set' },
  ),
  doubt(
    'each pod has its own PostgreSQL as a sidecar',
    (m) => {
      m.secret['database-url'] = 'postgresql://user:password@localhost/langflow'
      m.pod.containers.push({ name: 'postgresql', image: 'postgres:18', ports: [{ containerPort: 5432 }] })
    },
    /database/i,
  ),
  error(
    'the database is in memory',
    (m) => {
      m.secret['database-url'] = 'sqlite://'
    },
    /sqlite|database/i,
  ),
  error(
    'the database is a SQLite file in each pod',
    (m) => {
      m.secret['database-url'] = 'sqlite:////app/data/langflow.db'
    },
    /sqlite|database/i,
  ),
  error(
    'a Deployment scaled to 0 for inject has no database',
    (m) => {
      m.workload.spec.replicas = 0
      delete m.secret.LANGFLOW_DATABASE_URL
    },
    /LANGFLOW_DATABASE_URL|SQLite|database/,
    { base: 'injected' },
  ),
  error(
    'an autoscaler sets the number of replicas, which have no database',
    (m) => {
      delete m.workload.spec.replicas
      delete m.secret.LANGFLOW_DATABASE_URL
      m.add(autoscaler(m, 2, 4))
    },
    /LANGFLOW_DATABASE_URL|SQLite|database/,
    { base: 'injected', also: /maxUnavailable/ },
  ),
  error(
    'a second definition of the database URL replaces the first',
    (m) => m.langflow.env.push({ name: 'LANGFLOW_DATABASE_URL', value: 'sqlite:////tmp/langflow.db' }),
    /sqlite|database/i,
  ),
  doubt(
    'a shell script exports another database URL',
    (m) => {
      startBy(
        m,
        'export LANGFLOW_DATABASE_URL=sqlite:////tmp/langflow.db && langflow run --host 0.0.0.0 --port 7860',
      )
    },
    /LANGFLOW_DATABASE_URL|sqlite|script|shell/i,
    { base: 'injected' },
  ),
  doubt(
    "a chart's script builds the database URL only if a variable is set, which is not set",
    (m) => {
      delete m.secret.LANGFLOW_DATABASE_URL
      startBy(
        m,
        'if [ -n "$DRIVER" ]; then export LANGFLOW_DATABASE_URL="$DRIVER://$DB_HOST/app"; fi && langflow run --host 0.0.0.0 --port 7860',
      )
    },
    /LANGFLOW_DATABASE_URL|database|script|shell/i,
    { base: 'injected' },
  ),
  ...(
    [
      [
        'exports a new secret key at each start',
        'export LANGFLOW_SECRET_KEY=$(openssl rand -hex 16)',
        /SECRET_KEY/,
      ],
      ['removes the database URL', 'unset LANGFLOW_DATABASE_URL', /DATABASE_URL|database/],
      ['reads variables from a file of the image', '. /app/env.sh', /script|shell|DATABASE_URL|database/],
      ['lets every visitor in', 'export LANGFLOW_AUTO_LOGIN=true', /AUTO_LOGIN|script|shell/],
    ] as const
  ).map(([what, command, says]) =>
    doubt(
      `a shell script ${what}`,
      (m) => startBy(m, `${command} && langflow run --host 0.0.0.0 --port 7860`),
      says,
      { base: 'injected' },
    ),
  ),
  doubt(
    'env sets another database URL for LangFlow',
    (m) => {
      m.langflow.args = ['env', 'LANGFLOW_DATABASE_URL=sqlite:////tmp/langflow.db', ...m.langflow.args]
    },
    /DATABASE_URL|database/,
    { base: 'smallest' },
  ),
  doubt(
    'LangFlow reads an env file of its own, which may replace the database URL',
    (m) => m.langflow.args.push('--env-file', '/app/data/.env'),
    /env-file|database|DATABASE_URL/,
  ),
  error(
    'the secret key is missing',
    (m) => dropVariable(m.langflow, 'LANGFLOW_SECRET_KEY'),
    /LANGFLOW_SECRET_KEY|secret-key|secret key/i,
  ),
  error(
    'the secret key is 32 bytes in hexadecimal digits, with which LangFlow stores no credential',
    (m) => {
      m.secret['secret-key'] = '0123456789abcdef'.repeat(4)
    },
    /LANGFLOW_SECRET_KEY|secret-key|secret key/i,
  ),
  error(
    'the secret key has 16 bytes too many',
    (m) => {
      m.secret['secret-key'] = Buffer.from('k'.repeat(48)).toString('base64url')
    },
    /LANGFLOW_SECRET_KEY|secret-key|secret key/i,
  ),
  error(
    'the secret key is empty',
    (m) => {
      m.secret['secret-key'] = ''
    },
    /LANGFLOW_SECRET_KEY|secret-key|secret key/i,
  ),
  error(
    'the secret key was encoded twice for the Secret',
    (m) => {
      const secret = m.get('Secret')
      const key = secret.stringData['secret-key']
      delete secret.stringData['secret-key']
      const twice = Buffer.from(Buffer.from(key).toString('base64')).toString('base64')
      secret.data = { 'secret-key': twice }
    },
    /LANGFLOW_SECRET_KEY|secret-key|secret key/i,
  ),
  problem(
    'the secret key can be guessed',
    (m) => {
      m.secret['secret-key'] = 'changeme'
    },
    /LANGFLOW_SECRET_KEY|secret-key|secret key/i,
  ),
  error(
    'each pod has its own UID as the secret key',
    (m) => setVariable(m.langflow, 'LANGFLOW_SECRET_KEY', { fieldRef: { fieldPath: 'metadata.uid' } }),
    /LANGFLOW_SECRET_KEY|secret-key|secret key/i,
  ),
  error(
    'each pod has its own name as the secret key',
    (m) => setVariable(m.langflow, 'LANGFLOW_SECRET_KEY', { fieldRef: { fieldPath: 'metadata.name' } }),
    /LANGFLOW_SECRET_KEY|secret-key|secret key/i,
  ),
  error(
    'LangFlow has no password for its first user',
    (m) => dropVariable(m.langflow, 'LANGFLOW_SUPERUSER_PASSWORD'),
    /SUPERUSER_PASSWORD|password/,
  ),
  error(
    "the password of the first user is 'langflow', which LangFlow refuses",
    (m) => {
      m.secret['superuser-password'] = 'langflow'
    },
    /SUPERUSER_PASSWORD|superuser-password|password/,
  ),
  error(
    'the password of the first user is empty',
    (m) => {
      m.secret['superuser-password'] = ''
    },
    /SUPERUSER_PASSWORD|superuser-password|password/,
  ),
  error(
    'envFrom has no password for the first user',
    (m) => {
      delete m.secret.LANGFLOW_SUPERUSER_PASSWORD
    },
    /SUPERUSER_PASSWORD|password/,
    { base: 'injected' },
  ),
  ...['true', 'True', '1', 'yes', 'on'].map((value) =>
    warning(
      `every visitor is the superuser by LANGFLOW_AUTO_LOGIN=${value}`,
      (m) => setVariable(m.langflow, 'LANGFLOW_AUTO_LOGIN', value),
      /AUTO_LOGIN|log in/,
    ),
  ),
  error(
    'the Secret lacks the key of the password',
    (m) => {
      m.secret.password = m.secret['superuser-password']
      delete m.secret['superuser-password']
    },
    /superuser-password/,
    { also: /superuser-password|SUPERUSER_PASSWORD/ },
  ),
  error(
    'the Secret lacks the key of the database URL',
    (m) => {
      m.secret.database_url = m.secret['database-url']
      delete m.secret['database-url']
    },
    /database-url/,
    { also: /database/i },
  ),
  error(
    'the Secret lacks the key of the secret key',
    (m) => {
      delete m.secret['secret-key']
    },
    /secret-key/,
    { also: /secret-key|SECRET_KEY/ },
  ),
  error(
    'the Secret lacks the bucket',
    (m) => {
      delete m.secret['s3-bucket']
    },
    /s3-bucket/,
  ),
  error(
    'a key in the manifest has a typo that the Secret lacks',
    (m) => {
      variableOf(m.langflow, 'LANGFLOW_SECRET_KEY').valueFrom.secretKeyRef.key = 'secretkey'
    },
    /secretkey/,
    { also: /secretkey|SECRET_KEY/ },
  ),
  doubt(
    'the Secret is in another namespace than the pods',
    (m) => {
      m.intoNamespace('langflow')
      m.get('Secret').metadata.namespace = 'default'
    },
    /Secret|secret/,
    { also: /Secret|secret|LANGFLOW_/ },
  ),
  unknown('the Secret with all values is not in the stream', (m) => m.drop('Secret'), /Secret|langflow/),
  unknown(
    'the Secret of the password is not in the stream',
    (m) => {
      variableOf(m.langflow, 'LANGFLOW_SUPERUSER_PASSWORD').valueFrom.secretKeyRef.name = 'admin'
    },
    /Secret\/admin/,
  ),
  unknown(
    'the Secret of the bucket is not in the stream',
    (m) => {
      variableOf(m.langflow, 'LANGFLOW_OBJECT_STORAGE_BUCKET_NAME').valueFrom.secretKeyRef.name = 'storage'
    },
    /Secret\/storage/,
  ),
  unknown(
    'a ConfigMap that sets variables of LangFlow is not in the stream',
    (m) => {
      m.langflow.envFrom.push({ configMapRef: { name: 'app-config' } })
    },
    /app-config/,
    { base: 'injected' },
  ),
  warning(
    'users lose their uploads, because the files are local',
    (m) => dropVariable(m.langflow, 'LANGFLOW_STORAGE_TYPE'),
    /file|upload|STORAGE/i,
  ),
  warning(
    'the volume for uploads is not where LangFlow writes them',
    (m) => {
      setVariable(m.langflow, 'LANGFLOW_STORAGE_TYPE', 'local')
      m.pod.volumes.push({ name: 'files', persistentVolumeClaim: { claimName: 'langflow-files' } })
      m.langflow.volumeMounts.push({ name: 'files', mountPath: '/data' })
      m.add(claim('langflow-files', 'ReadWriteMany'))
    },
    /file|upload|STORAGE/i,
  ),
  warning(
    'each pod of a StatefulSet has its own volume for the uploads',
    (m) => {
      m.secret.LANGFLOW_STORAGE_TYPE = 'local'
      m.langflow.volumeMounts.push({ name: 'data', mountPath: '/app/data' })
      m.workload.spec.volumeClaimTemplates = [
        {
          metadata: { name: 'data' },
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
        },
      ]
    },
    /file|upload|STORAGE|data/i,
    { base: 'stateful-set' },
  ),
  problem(
    "the uploads are in a directory of the pod's node",
    (m) => {
      setVariable(m.langflow, 'LANGFLOW_STORAGE_TYPE', 'local')
      const volume = volumeOf(m.pod, 'langflow-state')
      delete volume.emptyDir
      volume.hostPath = { path: '/var/lib/langflow' }
    },
    /hostPath|file|upload|node/i,
  ),
  ...['ReadWriteOnce', 'ReadWriteOncePod'].map((mode) =>
    error(
      `all replicas mount one volume with ${mode}`,
      (m) => {
        setVariable(m.langflow, 'LANGFLOW_STORAGE_TYPE', 'local')
        const volume = volumeOf(m.pod, 'langflow-state')
        delete volume.emptyDir
        volume.persistentVolumeClaim = { claimName: 'langflow-files' }
        m.add(claim('langflow-files', mode))
      },
      /langflow-files|ReadWriteMany/,
    ),
  ),
  error(
    'a Deployment scaled to 0 for inject has one ReadWriteOnce volume',
    (m) => {
      m.workload.spec.replicas = 0
      m.pod.volumes.push({ name: 'files', persistentVolumeClaim: { claimName: 'files' } })
      m.langflow.volumeMounts.push({ name: 'files', mountPath: '/app/data' })
      m.add(claim('files', 'ReadWriteOnce'))
    },
    /ReadWriteMany/,
    { base: 'injected' },
  ),
  error(
    'an autoscaler adds replicas, which share one ReadWriteOnce volume',
    (m) => {
      m.workload.spec.replicas = 1
      m.pod.volumes.push({ name: 'cache', persistentVolumeClaim: { claimName: 'cache' } })
      m.langflow.volumeMounts.push({ name: 'cache', mountPath: '/cache' })
      m.add(claim('cache', 'ReadWriteOnce'))
      m.add(autoscaler(m, 1, 3))
    },
    /ReadWriteMany/,
  ),
  error(
    'all replicas mount one ReadWriteOnce volume of S3 credentials and caches',
    (m) => {
      m.pod.volumes.push({ name: 'cache', persistentVolumeClaim: { claimName: 'cache' } })
      m.langflow.volumeMounts.push({ name: 'cache', mountPath: '/cache' })
      m.add(claim('cache', 'ReadWriteOnce'))
    },
    /cache|ReadWriteMany/,
  ),
  doubt(
    'a volume of all replicas is claimed elsewhere',
    (m) => {
      const volume = volumeOf(m.pod, 'langflow-state')
      delete volume.emptyDir
      volume.persistentVolumeClaim = { claimName: 'langflow-files' }
    },
    /langflow-files/,
  ),
  warning(
    'LangFlow hangs while its database is unavailable, because of its default log',
    (m) => dropVariable(m.langflow, 'LANGFLOW_LOG_ENV'),
    /LOG_ENV/,
  ),
  warning(
    'a Service named langflow sets LANGFLOW_PORT by enableServiceLinks',
    (m) => {
      m.pod.enableServiceLinks = true
    },
    /enableServiceLinks/,
  ),
  warning(
    'a Service named langflow sets LANGFLOW_PORT by the default of enableServiceLinks',
    (m) => {
      delete m.pod.enableServiceLinks
    },
    /enableServiceLinks/,
  ),
  error(
    'the URL of the database refers to a variable after it',
    (m) => {
      setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://langflow:$(PGPASSWORD)@host/langflow')
      setVariable(m.langflow, 'PGPASSWORD', { secretKeyRef: { name: 'langflow', key: 'superuser-password' } })
    },
    /move PGPASSWORD before LANGFLOW_DATABASE_URL/,
  ),
  error(
    'the URL of the database refers to a variable that does not exist',
    (m) => setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://user:password@$(DB_HOST)/langflow'),
    /no variable DB_HOST/,
  ),
  ...(
    [
      ['another key', { data: [{ secretKey: 'databaseUrl', remoteRef: { key: 'db' } }] }],
      ['another key by a template', { target: { name: 'db', template: { data: { url: '{{ .url }}' } } } }],
    ] as const
  ).map(([what, spec]) =>
    error(
      `an ExternalSecret writes ${what}`,
      (m) => {
        m.objects.push({ kind: 'ExternalSecret', metadata: { name: 'db' }, spec })
        setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', {
          secretKeyRef: { name: 'db', key: 'database-url' },
        })
      },
      /"db" lacks the key database-url/,
      { also: /SQLite/ },
    ),
  ),
  error(
    'the URL of the database was encoded twice in the Secret',
    (m) => {
      m.secret['database-url'] = Buffer.from(m.secret['database-url']).toString('base64')
    },
    /LANGFLOW_DATABASE_URL is not a URL/,
  ),
]

const CONTENT: readonly Row[] = [
  doubt(
    'no volume has the env file',
    (m) => setVariable(m.langflow, 'LEADER_ENV_FILE', '/secrets/langflow.env'),
    /volume|mount/,
  ),
  error(
    'the Secret of the env file lacks its key',
    (m) => {
      m.pod.volumes.push({ name: 'env', secret: { secretName: 'langflow-env' } })
      m.langflow.volumeMounts.push({ name: 'env', mountPath: '/secrets', readOnly: true })
      setVariable(m.langflow, 'LEADER_ENV_FILE', '/secrets/langflow.env')
      m.objects.push({
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'langflow-env' },
        stringData: { env: 'OPENAI_API_KEY=sk-1' },
      })
    },
    /langflow\.env/,
  ),
  problem(
    'the agent reads the env file, not the launcher',
    (m) => {
      m.pod.volumes.push({ name: 'env', secret: { secretName: 'langflow-env' } })
      m.agent.volumeMounts.push({ name: 'env', mountPath: '/secrets', readOnly: true })
      setVariable(m.agent, 'LEADER_ENV_FILE', '/secrets/langflow.env')
    },
    /env-file|ENV_FILE|\/secrets/,
    { also: /env-file|ENV_FILE|\/secrets/ },
  ),
  problem(
    'the agent watches the flows, not the launcher',
    (m) => {
      m.pod.volumes.push({ name: 'flows', configMap: { name: 'flows' } })
      m.agent.volumeMounts.push({ name: 'flows', mountPath: '/flows', readOnly: true })
      setVariable(m.agent, 'LEADER_HANDOVER_ON_CHANGE', '/flows')
    },
    /HANDOVER_ON_CHANGE|handover-on-change|\/flows/,
  ),
  error(
    'the path of the env file is relative',
    (m) => setVariable(m.langflow, 'LEADER_ENV_FILE', 'langflow.env'),
    /ENV_FILE|env-file/,
  ),
  doubt(
    'no volume has the flows whose change should start LangFlow again',
    (m) => setVariable(m.langflow, 'LEADER_HANDOVER_ON_CHANGE', '/flows'),
    /\/flows/,
  ),
  problem(
    'the flows are mounted with subPath, which Kubernetes never updates',
    (m) => {
      m.add('apiVersion: v1\nkind: ConfigMap\nmetadata: { name: flows }\ndata: { a.json: "{}" }')
      m.pod.volumes.push({ name: 'flows', configMap: { name: 'flows' } })
      m.langflow.volumeMounts.push({
        name: 'flows',
        mountPath: '/flows/a.json',
        subPath: 'a.json',
        readOnly: true,
      })
      setVariable(m.langflow, 'LEADER_HANDOVER_ON_CHANGE', '/flows/a.json')
    },
    /subPath/,
  ),
]

function autoscaler(m: ManifestSet, min: number, max: number): string {
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

const ROLLOUTS: readonly Row[] = [
  error(
    'in readiness mode, a surge waits forever for a second Ready pod',
    (m) => {
      m.workload.spec.strategy.rollingUpdate = { maxSurge: 1, maxUnavailable: 0 }
    },
    /maxSurge|maxUnavailable|strategy/,
    { base: 'smallest' },
  ),
  error(
    'in readiness mode, the default strategy waits forever',
    (m) => {
      delete m.workload.spec.strategy
    },
    /maxSurge|maxUnavailable|strategy/,
    { base: 'injected' },
  ),
  error(
    'with three replicas in readiness mode, only one may be unavailable',
    (m) => {
      m.workload.spec.replicas = 3
    },
    /maxUnavailable/,
    { base: 'smallest' },
  ),
  error(
    'in readiness mode, 66 % of three replicas is one that may be unavailable',
    (m) => {
      m.workload.spec.replicas = 3
      m.workload.spec.strategy.rollingUpdate = { maxSurge: 0, maxUnavailable: '66%' }
    },
    /maxUnavailable/,
    { base: 'smallest' },
  ),
  error(
    'an ordered StatefulSet in readiness mode never gets its third pod',
    (m) => {
      m.workload.spec.replicas = 3
      m.workload.spec.updateStrategy.rollingUpdate.maxUnavailable = 2

      delete m.workload.spec.podManagementPolicy
    },
    /podManagementPolicy|Parallel/,
    { base: 'stateful-set' },
  ),
  error(
    'a budget blocks every eviction of the leader in readiness mode',
    (m) => m.add(budget('smallest', 'minAvailable: 1')),
    /PodDisruptionBudget|minAvailable/,
    { base: 'smallest' },
  ),
  error(
    'a budget by maxUnavailable blocks every eviction of the leader in readiness mode',
    (m) => m.add(budget('smallest', 'maxUnavailable: 1')),
    /PodDisruptionBudget|maxUnavailable/,
    { base: 'smallest' },
  ),
  ...['maxUnavailable: 0', 'maxUnavailable: "0%"', 'minAvailable: 2', 'minAvailable: 100%'].map((limit) =>
    error(
      `a budget with ${limit} blocks every drain`,
      (m) => {
        m.drop('PodDisruptionBudget')
        m.add(budget('production', limit))
      },
      /PodDisruptionBudget|minAvailable|maxUnavailable/,
    ),
  ),
  doubt(
    'a budget needs two Ready pods, and an autoscaler may leave two',
    (m) => {
      delete m.workload.spec.replicas
      m.add(autoscaler(m, 2, 5))
      m.drop('PodDisruptionBudget')
      m.add(budget('production', 'minAvailable: 2'))
    },
    /PodDisruptionBudget/,
  ),
  error(
    'a budget of 67 % of three pods needs all three',
    (m) => {
      m.workload.spec.replicas = 3
      m.drop('PodDisruptionBudget')
      m.add(budget('production', 'minAvailable: 67%'))
    },
    /PodDisruptionBudget/,
  ),
  error(
    'a second budget of another team selects the same pods, which blocks every eviction',
    (m) => {
      const second = structuredClone(m.get('PodDisruptionBudget'))
      second.metadata.name = 'everything'
      second.spec.selector = {}
      m.objects.push(second)
    },
    /PodDisruptionBudget|everything/,
  ),
  warning(
    'no replica could take over, because there is only one',
    (m) => {
      m.workload.spec.replicas = 1
    },
    /replica/,
  ),
  warning(
    'the number of replicas is absent, so there is only one',
    (m) => {
      delete m.workload.spec.replicas
    },
    /replica/,
  ),
  warning(
    'an autoscaler adds replicas, which only wait',
    (m) => m.add(autoscaler(m, 2, 5)),
    /HorizontalPodAutoscaler|autoscal|replicas/i,
  ),
  warning(
    'KEDA adds replicas, which only wait',
    (m) =>
      m.add(`
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: { name: langflow }
spec: { scaleTargetRef: { name: langflow }, minReplicaCount: 2, maxReplicaCount: 9, triggers: [] }
`),
    /ScaledObject|KEDA|autoscal|replicas/i,
  ),
  warning(
    'an autoscaler may leave only one replica',
    (m) => m.add(autoscaler(m, 1, 3)),
    /HorizontalPodAutoscaler|autoscal|replicas/i,
  ),
  ...['Auto', 'Recreate'].map((mode) =>
    warning(
      `a vertical autoscaler in mode ${mode} evicts the leader`,
      (m) => m.add(verticalAutoscaler(m, mode)),
      /VerticalPodAutoscaler|updateMode/,
    ),
  ),
  warning(
    'a vertical autoscaler without a mode evicts the leader',
    (m) => {
      delete m.add(verticalAutoscaler(m, 'Off')).spec.updatePolicy
    },
    /VerticalPodAutoscaler|updateMode/,
  ),
]

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

function verticalAutoscaler(m: ManifestSet, mode: string): string {
  const { kind, metadata } = m.workload
  return `
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: { name: langflow }
spec:
  targetRef: { apiVersion: apps/v1, kind: ${kind}, name: ${metadata.name} }
  updatePolicy: { updateMode: "${mode}" }
`
}

/** A required node affinity to nodes of these names. */
const onNodes = (...values: string[]): Loose => ({
  nodeAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: {
      nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values }] }],
    },
  },
})

const RESOURCES: readonly Row[] = [
  warning(
    'the agent has a CPU limit, so that it may be throttled at a renewal',
    (m) => {
      m.agent.resources.limits.cpu = '100m'
    },
    /cpu|CPU/,
  ),
  problem(
    'the memory limit of the agent is below what Node needs',
    (m) => {
      m.agent.resources = { requests: { memory: '32Mi' }, limits: { memory: '48Mi' } }
    },
    /memory/,
    { base: 'smallest' },
  ),
  warning(
    'the memory limit of LangFlow is too low for a warm standby',
    (m) => {
      m.langflow.resources = { requests: { memory: '256Mi' }, limits: { memory: '512Mi' } }
    },
    /memory/,
  ),
  warning(
    'the memory limit of LangFlow is too low in a unit without a factor',
    (m) => {
      m.langflow.resources = { limits: { memory: '400000000' } }
    },
    /memory/,
    { base: 'injected-front' },
  ),
  warning(
    'all pods are on one node by nodeName',
    (m) => {
      m.pod.nodeName = 'node-1'
    },
    /nodeName|one node/,
  ),
  warning(
    'all pods are on one node by nodeSelector',
    (m) => {
      m.pod.nodeSelector = { 'kubernetes.io/hostname': 'node-1' }
    },
    /nodeSelector|hostname|one node/,
  ),
  warning(
    'all pods are on one node by a required node affinity',
    (m) => {
      m.pod.affinity = onNodes('node-1')
    },
    /affinity|hostname|one node/i,
  ),
  warning(
    'all pods are on one node by a required affinity to each other',
    (m) => {
      m.pod.affinity = {
        podAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: [
            {
              labelSelector: { matchLabels: { 'app.kubernetes.io/name': 'langflow' } },
              topologyKey: 'kubernetes.io/hostname',
            },
          ],
        },
      }
    },
    /affinity|one node/i,
  ),
  warning(
    'the spread constraint selects the pods of another program',
    (m) => {
      m.pod.topologySpreadConstraints[0].labelSelector = { matchLabels: { app: 'flows' } }
    },
    /topologySpreadConstraints select other pods/,
  ),
]

export const BROKEN: readonly Row[] = [
  ...TWO_WORKLOADS,
  ...TWO_LEASES,
  ...NAMES,
  ...RIGHTS,
  ...TOKEN,
  ...PARTS,
  ...PROBES,
  ...STOPPING,
  ...VOLUMES,
  ...IDENTITY,
  ...SETTINGS,
  ...FRONT,
  ...PORTS,
  ...NETWORK,
  ...STATE,
  ...CONTENT,
  ...ROLLOUTS,
  ...RESOURCES,
]
