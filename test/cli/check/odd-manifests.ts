import { stringify } from 'yaml'
import { manifestsIn } from '../../deploy/manifests.ts'
import { fixture, type Options as InjectOptions, injected } from '../inject/streams.ts'
import type { Loose } from './facts.ts'
import { dropVariable, type ManifestSet, mountOf, setVariable, variableOf, volumeOf } from './manifest-set.ts'
import type { Base } from './sound-manifests.ts'

/** An unusual installation that works. Each error of `check` is a false alarm, and each warning or `?` without use, too. */
export interface OddRow {
  readonly name: string
  readonly base: Base
  readonly edit: (manifests: ManifestSet) => void
  /** Matches the object and message of a warning or a `?` that is of use. */
  readonly useful?: RegExp
  /** The stream of the edited manifests. */
  readonly render: (manifests: ManifestSet) => string
}

type Options = Partial<Pick<OddRow, 'base' | 'useful'>>

const odd = (name: string, edit: OddRow['edit'], options: Options = {}): OddRow => ({
  name,
  base: 'production',
  edit,
  ...options,
  render: (manifests) => manifests.text(),
})

const formatted = (name: string, render: OddRow['render']): OddRow => ({
  name,
  base: 'production',
  edit: () => {},
  render,
})

/** The output of `inject` for an official chart, with the variables that the chart's values leave to the user. */
const chart = (
  name: string,
  fixtureName: Parameters<typeof fixture>[0],
  options: InjectOptions,
  edit: OddRow['edit'] = () => {},
): OddRow =>
  odd(
    name,
    (m) => {
      m.objects = manifestsIn(injected(fixture(fixtureName), options))
      setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://user:password@host/flows')
      for (const key of ['SECRET_KEY', 'SUPERUSER_PASSWORD'])
        setVariable(m.langflow, `LANGFLOW_${key}`, { secretKeyRef: { name: 'flows', key } })
      edit(m)
    },
    { useful: /files that users upload|Secret\/flows|mounted at \/tmp|podManagementPolicy/ },
  )

const CHARTS: readonly OddRow[] = [
  chart('the chart langflow-ide in readiness mode', 'stateful-backend', {}),
  chart('the chart langflow-runtime in readiness mode', 'runtime-deployment', {}),
  ...(['stateful-backend', 'runtime-deployment'] as const).map((name) =>
    chart(
      `the chart of ${name} in front mode, with time for a cold start`,
      name,
      { traffic: 'front' },
      (m) => {
        setVariable(m.agent, 'LEADER_HOLD_TIMEOUT', '75s')
        m.pod.terminationGracePeriodSeconds = 120
      },
    ),
  ),
]

const FORMATS: readonly OddRow[] = [
  formatted('the stream is a List in JSON', (m) =>
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items: m.objects }, null, 2),
  ),
  formatted('the stream is a List in YAML between other documents', (m) => {
    const [first, ...others] = m.objects
    const list = stringify({ apiVersion: 'v1', kind: 'List', items: others })
    return `# rendered\n---\n---\n${stringify(first)}---\n${list}---\n# end\n`
  }),
  odd('the stream has the objects in the opposite order', (m) => {
    m.objects.reverse()
  }),
  odd('every object has the same namespace', (m) => m.intoNamespace('langflow')),
  odd('only the subject of the binding has a namespace, as Helm writes it', (m) => {
    m.get('RoleBinding').subjects[0].namespace = 'langflow'
  }),
  odd('the objects come from the API server, with its defaults and status', (m) => {
    for (const object of m.objects) {
      Object.assign(object.metadata, {
        uid: '7f2c6d0e-5a5b-4d2f-9d0e-1f2a3b4c5d6e',
        resourceVersion: '12345',
        creationTimestamp: '2026-11-01T10:00:00Z',
        managedFields: [{ manager: 'kubectl', operation: 'Apply' }],
      })
    }
    m.intoNamespace('langflow')
    Object.assign(m.service.spec, { clusterIP: '10.96.3.4', sessionAffinity: 'None', type: 'ClusterIP' })
    m.members.spec.clusterIPs = ['None']
    m.pod.serviceAccount = m.pod.serviceAccountName
    Object.assign(m.pod, {
      dnsPolicy: 'ClusterFirst',
      restartPolicy: 'Always',
      schedulerName: 'default-scheduler',
    })
    Object.assign(m.workload, { status: { replicas: 2, readyReplicas: 2, observedGeneration: 4 } })
    m.get('Lease').spec = { holderIdentity: 'langflow-1_u', leaseDurationSeconds: 15 }
    const secret = m.get('Secret')
    secret.data = Object.fromEntries(
      Object.entries(m.secret as Record<string, string>).map(([key, value]) => [
        key,
        Buffer.from(value).toString('base64'),
      ]),
    )
    delete secret.stringData
  }),
  odd('the Secret was typed with a line break at its end', (m) => {
    m.secret['superuser-password'] += '\n'
  }),
  odd('other applications are in the same stream', (m) => {
    m.add(`
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: langflow-postgresql }
spec:
  serviceName: langflow-postgresql
  selector: { matchLabels: { app: langflow-postgresql } }
  template:
    metadata: { labels: { app: langflow-postgresql } }
    spec: { containers: [{ name: postgresql, image: "postgres:18", ports: [{ containerPort: 5432 }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: langflow-postgresql }
spec: { selector: { app: langflow-postgresql }, ports: [{ port: 5432 }] }
---
apiVersion: batch/v1
kind: CronJob
metadata: { name: backup }
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec: { template: { spec: { restartPolicy: Never, containers: [{ name: dump, image: "postgres:18" }] } } }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: langflow }
spec: { defaultBackend: { service: { name: langflow, port: { name: http } } } }
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: { name: langflow }
spec: { selector: { matchLabels: { app.kubernetes.io/name: langflow } }, podMetricsEndpoints: [{ port: agent }] }
`)
  }),
  odd('a second, independent installation is in the same namespace', (m) => {
    m.addTwin('staging')
  }),
  odd('a second installation has the same names in another namespace, and its own database', (m) => {
    m.intoNamespace('team-a')
    const twin = m.copy()
    twin.intoNamespace('team-b')
    twin.secret['database-url'] = 'postgresql://user:password@host/team-b'
    m.objects.push(...twin.objects)
  }),
  odd('two namespaces have a database each, by one URL whose host is a Service of the namespace', (m) => {
    m.secret['database-url'] = 'postgresql://user:password@postgresql/langflow'
    m.intoNamespace('team-a')
    const twin = m.copy()
    twin.intoNamespace('team-b')
    m.objects.push(...twin.objects)
  }),
  odd('two installations have two databases of one server', (m) => {
    m.addTwin('staging').secret['database-url'] = 'postgresql://user:password@host:5432/langflow_staging'
  }),
  odd(
    'only the workload is in the stream',
    (m) => {
      m.objects = [m.workload]
    },
    { useful: /Secret|Service|Lease|LangFlow/ },
  ),
  odd(
    'only workload and Services are in the stream, as for inject',
    (m) => {
      m.objects = [m.workload, m.service, m.members]
    },
    { base: 'injected-front', useful: /Secret|Service|Lease/ },
  ),
  odd('kustomize adds a label to every selector and template', (m) => {
    const add = (labels: Loose) => Object.assign(labels, { env: 'prod' })
    add(m.workload.spec.selector.matchLabels)
    add(m.workload.spec.template.metadata.labels)
    add(m.pod.topologySpreadConstraints[0].labelSelector.matchLabels)
    for (const service of [m.service, m.members]) add(service.spec.selector)
    add(m.get('PodDisruptionBudget').spec.selector.matchLabels)
    const { spec } = m.get('NetworkPolicy')
    add(spec.podSelector.matchLabels)
    add(spec.ingress[1].from[0].podSelector.matchLabels)
  }),
  odd("a drill's CronJob uses the image of the agent", (m) => {
    m.add(`
apiVersion: batch/v1
kind: CronJob
metadata: { name: langflow-drill }
spec:
  schedule: "0 3 1 * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          serviceAccountName: langflow-drill
          containers: [{ name: drill, image: "langflow-leader:0.1.0", args: [drill, --yes, --service=http://langflow:7860] }]
`)
  }),
]

const WORKLOADS: readonly OddRow[] = [
  odd(
    'there is one replica',
    (m) => {
      m.workload.spec.replicas = 1
    },
    { useful: /replica/ },
  ),
  odd(
    'there is one replica in readiness mode',
    (m) => {
      m.workload.spec.replicas = 1
    },
    { base: 'smallest', useful: /replica/ },
  ),
  odd('there are three replicas', (m) => {
    m.workload.spec.replicas = 3
  }),
  odd(
    'there are three replicas in readiness mode, of which two may be unavailable',
    (m) => {
      m.workload.spec.replicas = 3
      m.workload.spec.strategy.rollingUpdate.maxUnavailable = 2
    },
    { base: 'smallest' },
  ),
  odd(
    'a percentage lets all replicas but the leader be unavailable',
    (m) => {
      m.workload.spec.strategy.rollingUpdate = { maxSurge: '0%', maxUnavailable: '50%' }
    },
    { base: 'smallest' },
  ),
  odd('an autoscaler holds two replicas, and the Deployment names no number', (m) => {
    delete m.workload.spec.replicas
    m.add(`
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: langflow }
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: langflow }
  minReplicas: 2
  maxReplicas: 2
`)
  }),
  odd('an autoscaler of another workload is in the stream', (m) => {
    m.add(`
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: frontend }
spec: { scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: frontend }, minReplicas: 1, maxReplicas: 9 }
`)
  }),
  odd('a vertical autoscaler only recommends', (m) => {
    m.add(`
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: { name: langflow }
spec:
  targetRef: { apiVersion: apps/v1, kind: Deployment, name: langflow }
  updatePolicy: { updateMode: "Off" }
`)
  }),
  odd('pods have more labels than the selector', (m) => {
    Object.assign(m.workload.spec.template.metadata.labels, { team: 'ai', 'helm.sh/chart': 'x-1.0' })
  }),
  odd('selectors use expressions', (m) => {
    m.get('PodDisruptionBudget').spec.selector = {
      matchExpressions: [{ key: 'app.kubernetes.io/name', operator: 'In', values: ['langflow'] }],
    }
  }),
  odd('replicas must be on different nodes by a required anti-affinity', (m) => {
    delete m.pod.topologySpreadConstraints
    m.pod.affinity = {
      podAntiAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          {
            labelSelector: { matchLabels: { 'app.kubernetes.io/name': 'langflow' } },
            topologyKey: 'kubernetes.io/hostname',
          },
        ],
      },
    }
  }),
  odd('pods run on nodes with a label', (m) => {
    m.pod.nodeSelector = { 'kubernetes.io/arch': 'amd64', pool: 'ai' }
    m.pod.tolerations = [{ key: 'ai', operator: 'Exists' }]
  }),
  odd(
    'in readiness mode, 67 % of three replicas may be unavailable',
    (m) => {
      m.workload.spec.replicas = 3
      m.workload.spec.strategy.rollingUpdate = { maxSurge: 0, maxUnavailable: '67%' }
    },
    { base: 'smallest' },
  ),
  odd(
    'in readiness mode, both limits are 0, so that Kubernetes replaces one pod at a time',
    (m) => {
      m.workload.spec.strategy.rollingUpdate = { maxSurge: 0, maxUnavailable: '49%' }
    },
    { base: 'smallest' },
  ),
  ...['maxUnavailable: 1%', 'minAvailable: 50%'].map((limit) =>
    odd(`a budget with ${limit} lets one pod of two be evicted`, (m) => {
      m.drop('PodDisruptionBudget')
      m.add(`
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: langflow }
spec: { ${limit}, selector: { matchLabels: { app.kubernetes.io/name: langflow } } }
`)
    }),
  ),
  odd('a budget requires one Ready pod in front mode', (m) => {
    m.get('PodDisruptionBudget').spec = {
      minAvailable: 1,
      selector: m.get('PodDisruptionBudget').spec.selector,
    }
  }),
  odd('an Argo Rollout replaces the Deployment', (m) => {
    const { workload } = m
    Object.assign(workload, { apiVersion: 'argoproj.io/v1alpha1', kind: 'Rollout' })
    workload.spec.strategy = { canary: { maxSurge: 1, maxUnavailable: 0 } }
  }),
  ...['maxUnavailable: 100%', 'minAvailable: 0'].map((limit) =>
    odd(
      `a budget with ${limit} allows every drain in readiness mode`,
      (m) => {
        m.add(`
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: langflow }
spec: { ${limit}, selector: { matchLabels: { app.kubernetes.io/name: langflow } } }
`)
      },
      { base: 'smallest' },
    ),
  ),
  odd('a budget of other pods blocks their eviction', (m) => {
    m.add(`
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: database }
spec: { maxUnavailable: 0, selector: { matchLabels: { app: database } } }
`)
  }),
  odd(
    'a rollout in front mode replaces all pods at once',
    (m) => {
      m.workload.spec.strategy = { type: 'Recreate' }
    },
    { useful: /Recreate/ },
  ),
  odd(
    'a StatefulSet in front mode starts its pods in order',
    (m) => {
      setVariable(m.agent, 'LEADER_TRAFFIC', 'front')
      setVariable(m.agent, 'LEADER_STANDBY', 'warm')
      m.agent.readinessProbe.httpGet.path = '/frontz'
      m.agent.readinessProbe.failureThreshold = 3
      m.pod.terminationGracePeriodSeconds = 75
      m.workload.spec.podManagementPolicy = 'OrderedReady'
      m.langflow.ports = [{ name: 'http', containerPort: 8091 }]
    },
    { base: 'stateful-set' },
  ),
  odd(
    'a StatefulSet changes its pods only when an operator deletes them',
    (m) => {
      m.workload.spec.updateStrategy = { type: 'OnDelete' }
    },
    { base: 'stateful-set' },
  ),
]

const CONTAINERS: readonly OddRow[] = [
  odd('the whole command is in command', (m) => {
    m.langflow.command = [...m.langflow.command, ...m.langflow.args]
    delete m.langflow.args
  }),
  odd('all words but node are in args', (m) => {
    m.langflow.args = [...m.langflow.command.slice(1), ...m.langflow.args]
    m.langflow.command = m.langflow.command.slice(0, 1)
  }),
  odd('LangFlow is started by its path', (m) => {
    m.langflow.args[0] = '/app/.venv/bin/langflow'
  }),
  odd('LangFlow is started as a Python module', (m) => {
    m.langflow.args = ['python', '-m', ...m.langflow.args]
  }),
  odd('LangFlow is started by a shell that does nothing else', (m) => {
    m.langflow.args = ['sh', '-c', 'exec langflow run --host 127.0.0.1 --port 7860']
  }),
  odd('host and port are given with an equals sign', (m) => {
    m.langflow.args = ['langflow', 'run', '--host=127.0.0.1', '--port=7860', '--backend-only']
  }),
  odd('host and port are variables', (m) => {
    m.langflow.args = ['langflow', 'run']
    setVariable(m.langflow, 'LANGFLOW_HOST', '127.0.0.1')
    setVariable(m.langflow, 'LANGFLOW_PORT', '7860')
  }),
  odd(
    'LangFlow has the host of its image',
    (m) => {
      m.langflow.args = ['langflow', 'run']
    },
    { base: 'smallest' },
  ),
  odd('LangFlow listens on localhost', (m) => {
    m.langflow.args = ['langflow', 'run', '--host', 'localhost', '--port', '7860']
  }),
  odd('the agent has its variables from a ConfigMap', (m) => {
    for (const name of ['LEADER_TRAFFIC', 'LEADER_STANDBY', 'LEADER_PEERS']) dropVariable(m.agent, name)
    m.add(`
apiVersion: v1
kind: ConfigMap
metadata: { name: agent }
data: { LEADER_TRAFFIC: front, LEADER_STANDBY: warm, LEADER_PEERS: "langflow-members:8090" }
`)
    m.agent.envFrom = [{ configMapRef: { name: 'agent' } }]
  }),
  odd('variables of the agent are empty, so that the defaults hold', (m) => {
    for (const name of ['LEADER_KILL_MARGIN', 'LEADER_HOLD_TIMEOUT']) setVariable(m.agent, name, '')
  }),
  odd('the agent has flags instead of variables', (m) => {
    m.agent.args = ['agent', '--traffic=front', '--standby', 'warm', '--peers=langflow-members:8090']
    for (const name of ['LEADER_TRAFFIC', 'LEADER_STANDBY', 'LEADER_PEERS']) dropVariable(m.agent, name)
  }),
  odd('a flag of the agent overrides a variable', (m) => {
    setVariable(m.agent, 'LEADER_STANDBY', 'cold')
    m.agent.args = ['agent', '--standby=warm']
  }),
  odd('a variable of the agent is composed of another one', (m) => {
    m.agent.env.unshift({ name: 'RELEASE', value: 'langflow' })
    setVariable(m.agent, 'LEADER_PEERS', '$(RELEASE)-members:8090')
  }),
  odd('the members Service is named with its domain', (m) => {
    m.intoNamespace('langflow')
    setVariable(m.agent, 'LEADER_PEERS', 'langflow-members.langflow.svc.cluster.local:8090')
  }),
  odd('the agent is on another port, with everything that asks it', (m) => {
    setVariable(m.agent, 'LEADER_LISTEN', ':9090')
    setVariable(m.agent, 'LEADER_PEERS', 'langflow-members:9090')
    m.agent.ports[0].containerPort = 9090
    m.members.spec.ports = [{ name: 'agent', port: 9090, targetPort: 9090 }]
    for (const probe of ['startupProbe', 'livenessProbe']) m.langflow[probe].httpGet.port = 9090
    m.get('NetworkPolicy').spec.ingress[1].ports = [{ port: 9090 }, { port: 8091 }]
  }),
  odd('every part has other names', (m) => {
    for (const [old, name] of [
      ['socket', 'run'],
      ['program', 'bin'],
      ['token', 'api'],
      ['agent-state', 'state'],
    ] as const) {
      for (const container of [m.langflow, m.agent, m.install])
        for (const mount of container.volumeMounts) if (mount.name === old) mount.name = name
      volumeOf(m.pod, old).name = name
    }
    m.langflow.name = 'backend'
  }),
  odd('install comes after the agent', (m) => {
    m.pod.initContainers.reverse()
  }),
  odd('other init containers come first', (m) => {
    m.pod.initContainers.unshift({ name: 'wait', image: 'busybox:1', command: ['sh', '-c', 'true'] })
  }),
  odd('other containers are in the pod', (m) => {
    m.pod.containers.unshift({
      name: 'cloud-sql-proxy',
      image: 'gcr.io/cloud-sql-connectors/cloud-sql-proxy:2',
      args: ['project:region:instance'],
      ports: [{ containerPort: 5432 }],
    })
    m.pod.containers.push({
      name: 'logs',
      image: 'fluent-bit:4',
      livenessProbe: { httpGet: { path: '/', port: 2020 } },
      volumeMounts: [{ name: 'tmp', mountPath: '/tmp', readOnly: true }],
    })
    m.pod.containers = [m.pod.containers[1], m.pod.containers[0], m.pod.containers[2]]
    m.secret['database-url'] = 'postgresql://user:password@127.0.0.1:5432/langflow'
  }),
  odd("an init container with LangFlow's image only copies files", (m) => {
    m.pod.initContainers.push({
      name: 'files',
      image: m.langflow.image,
      command: ['cp', '-r', '/app/starter', '/app/data'],
      volumeMounts: [{ name: 'langflow-state', mountPath: '/app/data' }],
    })
  }),
  odd("a sidecar has LangFlow's image and another command", (m) => {
    m.pod.containers.push({
      name: 'exporter',
      image: m.langflow.image,
      command: ['python', '/exporter/main.py'],
    })
  }),
  odd("LangFlow's container is not the first", (m) => {
    m.pod.containers.unshift({
      name: 'proxy',
      image: 'envoyproxy/envoy:v1',
      ports: [{ containerPort: 9901 }],
    })
  }),
  odd('a mesh adds its sidecar when the pod is created', (m) => {
    Object.assign(m.workload.spec.template.metadata, { annotations: { 'sidecar.istio.io/inject': 'true' } })
    m.workload.spec.template.metadata.labels['istio.io/rev'] = 'stable'
  }),
  odd('resources have other units', (m) => {
    m.langflow.resources = { requests: { cpu: 0.5, memory: '1073741824' }, limits: { memory: '3000M' } }
    m.agent.resources = { requests: { cpu: '0.05', memory: '224e6' }, limits: { memory: '0.5Gi' } }
  }),
  odd('containers have no resources', (m) => {
    for (const container of [m.langflow, m.agent, m.install]) delete container.resources
  }),
  odd('the gate of a front is asked for details', (m) => {
    m.agent.readinessProbe.httpGet.path = '/frontz?verbose'
  }),
  odd(
    'the gate is asked for details',
    (m) => {
      m.agent.readinessProbe.httpGet.path = '/readyz?verbose'
    },
    { base: 'smallest' },
  ),
  odd("LangFlow's readiness probe asks the agent", (m) => {
    m.langflow.readinessProbe = { httpGet: { path: '/frontz', port: 8090 }, periodSeconds: 2 }
  }),
  odd("the agent's probes have port numbers and no options", (m) => {
    m.agent.readinessProbe = { httpGet: { path: '/frontz', port: 8090 }, periodSeconds: 1 }
    m.agent.livenessProbe = { httpGet: { path: '/livez', port: 8090 } }
  }),
  odd('the same user is set in each container', (m) => {
    for (const container of [m.langflow, m.agent, m.install])
      Object.assign(container.securityContext, { runAsUser: 1000, runAsGroup: 1000, runAsNonRoot: true })
    m.pod.securityContext = { seccompProfile: { type: 'RuntimeDefault' } }
  }),
  odd('two users share a group', (m) => {
    m.langflow.securityContext.runAsUser = 1001
  }),
  odd('a longer grace period is set', (m) => {
    m.pod.terminationGracePeriodSeconds = 600
  }),
  odd('the timings are longer, and consistent', (m) => {
    setVariable(m.agent, 'LEADER_LEASE_DURATION', '20s')
    setVariable(m.agent, 'LEADER_RENEW_DEADLINE', '15000ms')
    setVariable(m.agent, 'LEADER_RETRY_PERIOD', '3s')
  }),
  odd('cold standbys have a hold timeout and a grace period that are long enough', (m) => {
    dropVariable(m.agent, 'LEADER_STANDBY')
    setVariable(m.agent, 'LEADER_HOLD_TIMEOUT', '1m30s')
    m.pod.terminationGracePeriodSeconds = 135
  }),
  odd(
    'a shell starts a cold LangFlow',
    (m) => {
      m.langflow.args = ['bash', '-c', 'set -e && mkdir -p /tmp/x && langflow run --host 0.0.0.0 --port 7860']
    },
    { base: 'smallest' },
  ),
  odd('the pod leaves the automatic token to its account, which turns it off', (m) => {
    delete m.pod.automountServiceAccountToken
  }),
  odd('the memory of small volumes is limited', (m) => {
    for (const name of ['socket', 'agent-state']) volumeOf(m.pod, name).emptyDir = { sizeLimit: '16Mi' }
    volumeOf(m.pod, 'tmp').emptyDir = { medium: 'Memory', sizeLimit: '256Mi' }
  }),
  odd('the socket directory is mounted with a slash at its end', (m) => {
    mountOf(m.langflow, 'socket').mountPath = '/run/langflow-leader/'
  }),
  odd('the volume of the program has a limit with room for it', (m) => {
    volumeOf(m.pod, 'program').emptyDir.sizeLimit = '512Mi'
  }),
  odd("LangFlow's temporary files are in the volume of its other files", (m) => {
    m.langflow.volumeMounts = m.langflow.volumeMounts.filter(({ name }: Loose) => name !== 'tmp')
    setVariable(m.langflow, 'TMPDIR', '/app/data/tmp')
  }),
  odd(
    'a shell replaces itself by the launcher, its only command',
    (m) => {
      const launcher = m.langflow.command.join(' ')
      m.langflow.command = ['/bin/bash', '-c']
      m.langflow.args = [`${launcher} sh -c 'umask 77; langflow run --host 127.0.0.1 --port 7860'`]
    },
    { useful: /cannot determine/ },
  ),
]

/** Near the mistakes of the other table. */
const NEAR_MISSES: readonly OddRow[] = [
  odd("the command lacks Node's --disable-sigusr1, which the program adds itself", (m) => {
    m.langflow.command = m.langflow.command.filter((word: string) => word !== '--disable-sigusr1')
  }),
  odd('the identity is made of the name and the UID of the pod', (m) =>
    setVariable(m.agent, 'LEADER_IDENTITY', '$(POD_NAME)_$(POD_UID)'),
  ),
  odd("the front's address is made of that of the pod", (m) =>
    setVariable(m.agent, 'LEADER_FRONT_ADDRESS', '$(POD_IP):8091'),
  ),
  odd('agent and front listen on every IPv4 address', (m) => {
    setVariable(m.agent, 'LEADER_LISTEN', '0.0.0.0:8090')
    setVariable(m.agent, 'LEADER_FRONT_LISTEN', '0.0.0.0:8091')
  }),
  odd('agent and front listen on every address', (m) => {
    setVariable(m.agent, 'LEADER_LISTEN', '[::]:8090')
    setVariable(m.agent, 'LEADER_FRONT_LISTEN', '[::]:8091')
  }),
  odd('LangFlow and its target have the IPv6 loopback address', (m) => {
    m.langflow.args = ['langflow', 'run', '--host', '::1', '--port', '7860']
    setVariable(m.agent, 'LEADER_TARGET', 'http://[::1]:7860')
  }),
  odd('the target is localhost', (m) => setVariable(m.agent, 'LEADER_TARGET', 'http://localhost:7860')),
  odd('host and port of LangFlow are inserted by Kubernetes', (m) => {
    setVariable(m.langflow, 'BIND', '127.0.0.1')
    setVariable(m.langflow, 'PORT', '7860')
    m.langflow.args = ['langflow', 'run', '--host', '$(BIND)', '--port', '$(PORT)']
  }),
  odd(
    'LangFlow listens on every IPv6 address',
    (m) => {
      m.langflow.args = ['langflow', 'run', '--host', '::', '--port', '7860']
    },
    { base: 'smallest', useful: /host/ },
  ),
  odd(
    'LANGFLOW_HOST is every IPv4 address',
    (m) => {
      m.langflow.args = ['langflow', 'run', '--port', '7860']
      setVariable(m.langflow, 'LANGFLOW_HOST', '0.0.0.0')
    },
    { base: 'smallest' },
  ),
  odd('a preStop hook waits, and the grace period is longer by that time', (m) => {
    m.langflow.lifecycle = { preStop: { sleep: { seconds: 10 } } }
    m.pod.terminationGracePeriodSeconds = 120
  }),
  odd('another container has a preStop hook', (m) => {
    m.pod.containers.push({
      name: 'proxy',
      image: 'envoyproxy/envoy:v1',
      lifecycle: { preStop: { exec: { command: ['sleep', '20'] } } },
    })
  }),
  odd('the pods have DNS settings of their own', (m) => {
    m.pod.dnsPolicy = 'None'
    m.pod.dnsConfig = { nameservers: ['10.0.0.10'], searches: ['default.svc.cluster.local'] }
  }),
  odd('the pods try fewer search domains', (m) => {
    m.pod.dnsConfig = { options: [{ name: 'ndots', value: '2' }] }
  }),
  odd('a privileged init container sets a parameter of the kernel', (m) => {
    m.pod.initContainers.push({
      name: 'sysctl',
      image: 'busybox:1',
      command: ['sysctl', '-w', 'net.core.somaxconn=1024'],
      securityContext: { privileged: true, runAsUser: 0, runAsNonRoot: false },
    })
  }),
  odd('a monitoring sidecar may trace its own processes', (m) => {
    m.pod.containers.push({
      name: 'monitor',
      image: 'datadog/agent:7',
      securityContext: { capabilities: { add: ['SYS_PTRACE'] } },
    })
  }),
  odd('LangFlow has a harmless capability', (m) => {
    m.langflow.securityContext.capabilities.add = ['NET_BIND_SERVICE']
  }),
  odd("an init container waits for the database with LangFlow's image", (m) => {
    m.pod.initContainers.push({
      name: 'wait',
      image: m.langflow.image,
      command: ['python', '-c', 'import socket; socket.create_connection(("host", 5432))'],
    })
  }),
  odd("an init container validates flows with LangFlow's image", (m) => {
    m.pod.initContainers.push({
      name: 'validate',
      image: m.langflow.image,
      command: ['lfx', 'validate', '/flows'],
    })
  }),
  odd("LangFlow's user interface is a sidecar", (m) => {
    m.pod.containers.push({
      name: 'langflow-frontend',
      image: 'langflowai/langflow-frontend:1.13.0',
      ports: [{ name: 'ui', containerPort: 8080 }],
    })
  }),
  odd('agent and install have other names', (m) => {
    m.install.name = 'copy'
    m.agent.name = 'leader-elector'
  }),
  odd('the command of the agent is explicit', (m) => {
    m.agent.command = [
      '/usr/lib/langflow-leader/node',
      '/usr/lib/langflow-leader/langflow-leader.mjs',
      'agent',
    ]
    delete m.agent.args
  }),
  odd('an image volume replaces the init container', (m) => {
    m.pod.initContainers = m.pod.initContainers.filter(({ name }: Loose) => name !== 'install')
    const volume = volumeOf(m.pod, 'program')
    delete volume.emptyDir
    volume.image = { reference: m.agent.image }
    const mount = mountOf(m.langflow, 'program')
    mount.mountPath = '/usr/lib/langflow-leader'
    mount.subPath = 'usr/lib/langflow-leader'
    m.langflow.command = m.langflow.command.map((word: string) =>
      word.replace('/opt/langflow-leader', '/usr/lib/langflow-leader'),
    )
  }),
  odd(
    'the agent has a kubeconfig of a Secret instead of a token',
    (m) => {
      m.pod.volumes.push({ name: 'kube', secret: { secretName: 'kube' } })
      m.agent.volumeMounts = m.agent.volumeMounts.filter(({ name }: Loose) => name !== 'token')
      m.agent.volumeMounts.push({ name: 'kube', mountPath: '/kube', readOnly: true })
      setVariable(m.agent, 'LEADER_KUBECONFIG', '/kube/config')
    },
    { useful: /kube/ },
  ),
  odd('a certificate directory of the node is mounted', (m) => {
    m.pod.volumes.push({ name: 'certs', hostPath: { path: '/etc/ssl/certs' } })
    m.langflow.volumeMounts.push({ name: 'certs', mountPath: '/etc/ssl/certs', readOnly: true })
  }),
  odd(
    'the agents of a StatefulSet are named one by one',
    (m) => setVariable(m.agent, 'LEADER_PEERS', 'app-0.app-members:8090,app-1.app-members:8090'),
    { base: 'stateful-set' },
  ),
  odd('LangFlow has a token for a cloud, which the API server refuses', (m) => {
    m.pod.volumes.push({
      name: 'aws',
      projected: {
        sources: [
          { serviceAccountToken: { path: 'token', audience: 'sts.amazonaws.com', expirationSeconds: 86400 } },
        ],
      },
    })
    m.langflow.volumeMounts.push({
      name: 'aws',
      mountPath: '/var/run/secrets/eks.amazonaws.com/serviceaccount',
      readOnly: true,
    })
  }),
  odd('each pod has an ephemeral ReadWriteOnce volume', (m) => {
    const volume = volumeOf(m.pod, 'tmp')
    delete volume.emptyDir
    volume.ephemeral = {
      volumeClaimTemplate: {
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
    }
  }),
  odd('a configuration file of another program is mounted with subPath', (m) => {
    m.add('apiVersion: v1\nkind: ConfigMap\nmetadata: { name: pip }\ndata: { pip.conf: "" }')
    m.pod.volumes.push({ name: 'pip', configMap: { name: 'pip' } })
    m.langflow.volumeMounts.push({ name: 'pip', mountPath: '/etc/pip.conf', subPath: 'pip.conf' })
  }),
  odd(
    'the env file has another name than the key of its Secret',
    (m) => {
      m.pod.volumes.push({
        name: 'env',
        projected: {
          sources: [{ secret: { name: 'langflow-env', items: [{ key: 'env', path: 'langflow.env' }] } }],
        },
      })
      m.langflow.volumeMounts.push({ name: 'env', mountPath: '/secrets', readOnly: true })
      setVariable(m.langflow, 'LEADER_ENV_FILE', '/secrets/langflow.env')
      m.objects.push({
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'langflow-env' },
        stringData: { env: 'OPENAI_API_KEY=sk-1' },
      })
    },
    { useful: /langflow\.env/ },
  ),
  odd(
    'the CSI driver of a secret store writes the env file',
    (m) => {
      m.pod.volumes.push({
        name: 'env',
        csi: { driver: 'secrets-store.csi.k8s.io', readOnly: true },
      })
      m.langflow.volumeMounts.push({ name: 'env', mountPath: '/secrets', readOnly: true })
      setVariable(m.langflow, 'LEADER_ENV_FILE', '/secrets/langflow.env')
    },
    { useful: /langflow\.env/ },
  ),
  odd('a Service for metrics has the pods of two installations', (m) => {
    const part = { 'app.kubernetes.io/part-of': 'langflow' }
    for (const { workload } of [m, m.addTwin('staging')])
      Object.assign(workload.spec.template.metadata.labels, part)
    m.objects.push({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'metrics' },
      spec: { clusterIP: 'None', selector: part, ports: [{ name: 'metrics', port: 8090 }] },
    })
  }),
  odd('a budget of another namespace selects every pod there', (m) => {
    m.intoNamespace('langflow')
    m.add(`
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: everything, namespace: default }
spec: { maxUnavailable: 0, selector: {} }
`)
  }),
  odd('a vertical autoscaler of another workload is in mode Auto', (m) => {
    m.add(`
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: { name: frontend }
spec: { targetRef: { apiVersion: apps/v1, kind: Deployment, name: frontend } }
`)
  }),
  odd('pods avoid one node, and prefer another', (m) => {
    const hostname = (operator: string, values: string[]) => ({
      matchExpressions: [{ key: 'kubernetes.io/hostname', operator, values }],
    })
    m.pod.affinity = {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [hostname('NotIn', ['node-1'])],
        },
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 1, preference: hostname('In', ['node-2']) },
        ],
      },
    }
  }),
  odd('pods run on two named nodes', (m) => {
    m.pod.affinity = {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [
            {
              matchExpressions: [
                { key: 'kubernetes.io/hostname', operator: 'In', values: ['node-1', 'node-2'] },
              ],
            },
          ],
        },
      },
    }
  }),
  odd('pods run in one zone', (m) => {
    m.pod.nodeSelector = { 'topology.kubernetes.io/zone': 'eu-central-1a' }
  }),
  odd(
    'service links are on, and the Service named langflow is in another namespace',
    (m) => {
      m.intoNamespace('flows')
      m.pod.enableServiceLinks = true
      m.service.metadata.namespace = 'default'
    },
    { useful: /Service/ },
  ),
  odd(
    'service links are on, and the Service named langflow is headless',
    (m) => {
      m.pod.enableServiceLinks = true
      m.service.spec.clusterIP = 'None'
    },
    { base: 'smallest' },
  ),
  odd('the secret key has no padding, which LangFlow adds', (m) => {
    m.secret['secret-key'] = m.secret['secret-key'].replace('=', '')
  }),
  odd('stringData replaces a value of data', (m) => {
    m.get('Secret').data = { 'secret-key': 'bm9uZQ==', 'database-url': '' }
  }),
  odd('fronts of cold standbys hold requests for 60 s', (m) => {
    dropVariable(m.agent, 'LEADER_STANDBY')
    setVariable(m.agent, 'LEADER_HOLD_TIMEOUT', '60s')
    m.pod.terminationGracePeriodSeconds = 105
  }),
  odd(
    'a short hold timeout is set in readiness mode, where no front runs',
    (m) => setVariable(m.agent, 'LEADER_HOLD_TIMEOUT', '5s'),
    { base: 'smallest' },
  ),
]

const AROUND: readonly OddRow[] = [
  odd('the Service has port 80 and a port number as its target', (m) => {
    m.service.spec.ports = [{ port: 80, targetPort: 8091 }]
  }),
  odd('the Service has a second port for metrics', (m) => {
    m.service.spec.ports.push({ name: 'metrics', port: 8090, targetPort: 'agent' })
  }),
  odd('a Service for metrics has all pods', (m) => {
    m.add(`
apiVersion: v1
kind: Service
metadata: { name: langflow-metrics }
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: { app.kubernetes.io/name: langflow }
  ports: [{ name: metrics, port: 9090, targetPort: agent }]
`)
  }),
  odd('the Service is a load balancer with session affinity', (m) => {
    Object.assign(m.service.spec, { type: 'LoadBalancer', sessionAffinity: 'ClientIP' })
  }),
  odd('the port of the front has another name', (m) => {
    m.langflow.ports[1].name = 'front'
    m.service.spec.ports[0].targetPort = 'front'
    m.get('NetworkPolicy').spec.ingress[0].ports = [{ port: 'front' }]
  }),
  odd('the members Service is not in the stream', (m) => m.drop('Service', 'langflow-members'), {
    useful: /langflow-members/,
  }),
  odd(
    'no Service is in the stream but that of the members',
    (m) => {
      m.drop('Service', 'langflow')
    },
    { useful: /Service/ },
  ),
  odd('the Lease is not in the stream, because the first leader creates it', (m) => m.drop('Lease'), {
    useful: /Lease/,
  }),
  odd(
    'the Lease of another program is in the stream, and that of LangFlow is not',
    (m) => {
      m.drop('Lease')
      m.add('apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: { name: cert-manager-controller }')
    },
    { useful: /Lease/ },
  ),
  odd('the rights are in a ClusterRole, bound in the namespace', (m) => {
    m.get('Role').kind = 'ClusterRole'
    m.get('RoleBinding').roleRef.kind = 'ClusterRole'
  }),
  odd('the rights are in a ClusterRole, bound in the cluster', (m) => {
    m.intoNamespace('langflow')
    const [role, binding] = [m.get('Role'), m.get('RoleBinding')]
    for (const object of [role, binding]) {
      object.kind = `Cluster${object.kind}`
      delete object.metadata.namespace
    }
    binding.roleRef.kind = 'ClusterRole'
    binding.subjects[0].namespace = 'langflow'
  }),
  odd('the Role allows every verb on all Leases', (m) => {
    m.get('Role').rules = [
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['*'] },
      { apiGroups: ['', 'events.k8s.io'], resources: ['events'], verbs: ['create', 'patch'] },
    ]
  }),
  odd('the Role allows everything', (m) => {
    m.get('Role').rules = [{ apiGroups: ['*'], resources: ['*'], verbs: ['*'] }]
  }),
  odd('the binding is for all accounts of the namespace', (m) => {
    m.intoNamespace('langflow')
    m.get('RoleBinding').subjects = [
      { kind: 'Group', name: 'system:serviceaccounts:langflow', apiGroup: 'rbac.authorization.k8s.io' },
    ]
  }),
  odd('two Roles and two bindings give the rights together', (m) => {
    const [role, binding] = [m.get('Role'), m.get('RoleBinding')]
    const [second, secondBinding] = structuredClone([role, binding])
    second.metadata.name = secondBinding.metadata.name = secondBinding.roleRef.name = 'langflow-events'
    second.rules = role.rules.splice(2, 1)
    m.objects.push(second, secondBinding)
  }),
  odd(
    'the account comes from elsewhere, with its rights',
    (m) => {
      for (const kind of ['ServiceAccount', 'Role', 'RoleBinding']) m.drop(kind)
    },
    { useful: /account/i },
  ),
  odd('no NetworkPolicy is in the stream', (m) => m.drop('NetworkPolicy')),
  odd('a policy denies all ingress, and the policy of LangFlow allows it', (m) => {
    m.add(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: default-deny }
spec: { podSelector: {}, policyTypes: [Ingress] }
`)
  }),
  odd('the NetworkPolicy allows all pods of the namespace on all ports', (m) => {
    m.get('NetworkPolicy').spec.ingress = [{ from: [{ podSelector: {} }] }]
  }),
  odd('a policy of another namespace denies everything there', (m) => {
    m.intoNamespace('langflow')
    m.add(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny, namespace: default }
spec: { podSelector: {}, policyTypes: [Ingress, Egress] }
`)
  }),
  odd('two policies allow the agents and the fronts together', (m) => {
    const first = m.get('NetworkPolicy')
    const second = structuredClone(first)
    second.metadata.name = 'fronts'
    first.spec.ingress[1].ports = [{ port: 8090 }]
    second.spec.ingress = [{ ...second.spec.ingress[1], ports: [{ port: 8091 }] }]
    m.objects.push(second)
  }),
  odd(
    'egress reaches every address but that of the metadata of the cloud',
    (m) => {
      m.add(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: egress }
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress: [{ to: [{ ipBlock: { cidr: 0.0.0.0/0, except: [169.254.169.254/32] } }] }]
`)
    },
    { useful: /addresses/ },
  ),
  odd('the NetworkPolicy allows everything', (m) => {
    m.get('NetworkPolicy').spec.ingress = [{}]
    delete m.get('NetworkPolicy').spec.policyTypes
  }),
  odd('the NetworkPolicy allows every namespace on the ports of the agent and the front', (m) => {
    m.get('NetworkPolicy').spec.ingress = [
      { from: [{ namespaceSelector: {} }], ports: [{ port: 8090 }, { port: 8091 }] },
    ]
  }),
  odd('a policy names egress, and allows all of it', (m) => {
    const { spec } = m.get('NetworkPolicy')
    spec.policyTypes = ['Ingress', 'Egress']
    spec.egress = [{}]
  }),
  odd('the namespace enforces restricted pods', (m) => {
    m.intoNamespace('langflow')
    m.add(`
apiVersion: v1
kind: Namespace
metadata: { name: langflow, labels: { pod-security.kubernetes.io/enforce: restricted } }
`)
  }),
  odd('the NetworkPolicy allows a range of ports', (m) => {
    m.get('NetworkPolicy').spec.ingress[1].ports = [{ port: 8000, endPort: 8999 }]
  }),
  odd('the NetworkPolicy allows the replicas by an expression and their namespace', (m) => {
    m.intoNamespace('langflow')
    m.get('NetworkPolicy').spec.ingress[1].from = [
      {
        podSelector: {
          matchExpressions: [{ key: 'app.kubernetes.io/name', operator: 'In', values: ['langflow'] }],
        },
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'langflow' } },
      },
    ]
  }),
  odd('a policy limits egress, and allows the API server, DNS, the database and the replicas', (m) => {
    m.add(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: langflow-egress }
spec:
  podSelector: { matchLabels: { app.kubernetes.io/name: langflow } }
  policyTypes: [Egress]
  egress:
    - ports: [{ port: 443 }, { port: 6443 }, { port: 5432 }, { port: 53, protocol: UDP }, { port: 53 }]
    - to: [{ podSelector: { matchLabels: { app.kubernetes.io/name: langflow } } }]
`)
  }),
  odd(
    "egress is limited to the cluster's DNS, the address of the API server and the namespace",
    (m) => {
      m.add(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: langflow-egress }
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
    - to:
        - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: kube-system } }
          podSelector: { matchLabels: { k8s-app: kube-dns } }
      ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
    - to: [{ ipBlock: { cidr: 10.0.0.1/32 } }]
      ports: [{ port: 443 }]
    - to: [{ podSelector: {} }]
`)
    },
    { useful: /addresses|labels/ },
  ),
  odd(
    'service links are on, and no Service is named langflow',
    (m) => {
      m.pod.enableServiceLinks = true
    },
    { base: 'injected' },
  ),
  odd('the Lease was read from a cluster, with its holder', (m) => {
    const lease = m.get('Lease')
    lease.metadata.uid = '0b8f3c9e-1111-2222-3333-444455556666'
    lease.spec = { holderIdentity: 'langflow-0_1', leaseDurationSeconds: 15 }
  }),
  odd(
    'the controller manager writes the rules of the ClusterRole',
    (m) => {
      const role = m.get('Role')
      Object.assign(role, { kind: 'ClusterRole', rules: [], aggregationRule: { clusterRoleSelectors: [{}] } })
      m.get('RoleBinding').roleRef.kind = 'ClusterRole'
    },
    { useful: /does not see the rules of ClusterRole/ },
  ),
  odd(
    'the replicas reach each other by a label of their namespace',
    (m) => {
      const [, peers] = m.get('NetworkPolicy').spec.ingress
      peers.from = [{ namespaceSelector: { matchLabels: { 'example.org/allow-ingress': 'flows' } } }]
    },
    { useful: /depends on the labels of their namespace/ },
  ),
  odd("the members' Service has the port of the fronts as well", (m) =>
    m.members.spec.ports.push({ name: 'front', port: 8091, targetPort: 8091 }),
  ),
]

const STATE: readonly OddRow[] = [
  odd('optional keys of the Secret are set', (m) => {
    Object.assign(m.secret, { 's3-region': 'eu-central-1', 's3-endpoint': 'https://s3.example.org' })
  }),
  odd(
    'an optional Secret is missing',
    (m) => {
      m.langflow.envFrom.push({ secretRef: { name: 'provider-keys', optional: true } })
    },
    { base: 'injected', useful: /provider-keys/ },
  ),
  odd(
    'a variable of LangFlow replaces one of envFrom',
    (m) => {
      setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://user:password@host/app')
      m.secret.LANGFLOW_DATABASE_URL = 'sqlite:////tmp/langflow.db'
    },
    { base: 'injected' },
  ),
  odd(
    "a chart's script builds the database URL",
    (m) => {
      delete m.secret.LANGFLOW_DATABASE_URL
      for (const [name, value] of [
        ['DRIVER', 'postgresql'],
        ['DB_HOST', 'db'],
      ] as const)
        setVariable(m.langflow, name, value)
      m.langflow.command = [
        ...m.langflow.command.slice(0, 5),
        '/bin/bash',
        '-c',
        'if [ -n "$DRIVER" ]; then export LANGFLOW_DATABASE_URL="$DRIVER://$DB_HOST/app"; fi && langflow run --host 0.0.0.0 --port 7860',
      ]
    },
    { base: 'injected' },
  ),
  odd('the database URL is composed of other variables', (m) => {
    for (const name of ['DB_USER', 'DB_PASSWORD']) setVariable(m.langflow, name, 'langflow')
    setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://$(DB_USER):$(DB_PASSWORD)@db/langflow')
  }),
  odd(
    'envFrom puts LANGFLOW_ before the keys of the Secret',
    (m) => {
      const secret = m.get('Secret')
      secret.stringData = Object.fromEntries(
        Object.entries(m.secret).map(([key, value]) => [key.replace('LANGFLOW_', ''), value]),
      )
      m.langflow.envFrom[0].prefix = 'LANGFLOW_'
    },
    { base: 'injected' },
  ),
  odd('the database URL has the old scheme, which LangFlow replaces', (m) => {
    m.secret['database-url'] = 'postgres://user:password@host/langflow'
  }),
  odd('the database URL has a driver, a port and options', (m) => {
    m.secret['database-url'] =
      'postgresql+psycopg://u:p%40ss@db.example.org:6432/langflow?sslmode=verify-full'
  }),
  odd('the secret key is in standard base64, which Python accepts, too', (m) => {
    m.secret['secret-key'] = `${'+/'.repeat(21)}A=`
  }),
  odd(
    'an env file in memory, which another container writes, has the secrets',
    (m) => {
      m.pod.volumes.push({ name: 'env', emptyDir: { medium: 'Memory' } })
      m.pod.initContainers.push({
        name: 'vault-agent',
        image: 'hashicorp/vault:1.20',
        restartPolicy: 'Always',
        volumeMounts: [
          { name: 'env', mountPath: '/secrets' },
          { name: 'token', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true },
        ],
      })

      m.langflow.volumeMounts.push({ name: 'env', mountPath: '/secrets', readOnly: true })
      setVariable(m.langflow, 'LEADER_ENV_FILE', '/secrets/langflow.env')
      for (const name of ['SECRET_KEY', 'SUPERUSER_PASSWORD', 'DATABASE_URL'])
        dropVariable(m.langflow, `LANGFLOW_${name}`)
    },
    { useful: /langflow\.env/ },
  ),
  odd('the secret key was typed with a line break at its end', (m) => {
    m.secret['secret-key'] += '\n'
  }),
  odd('the database URL comes from a ConfigMap', (m) => {
    m.add(`
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { url: "postgresql://langflow@db.example.org/langflow" }
`)
    setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', {
      configMapKeyRef: { name: 'settings', key: 'url' },
    })
  }),
  ...['false', 'False', '0', 'no', 'off'].map((value) =>
    odd(`LANGFLOW_AUTO_LOGIN is ${value}`, (m) => setVariable(m.langflow, 'LANGFLOW_AUTO_LOGIN', value)),
  ),
  odd('the storage type is in capital letters', (m) =>
    setVariable(m.langflow, 'LANGFLOW_STORAGE_TYPE', 'S3'),
  ),
  odd(
    'LangFlow logs visitors in without a password',
    (m) => {
      setVariable(m.langflow, 'LANGFLOW_AUTO_LOGIN', 'true')
      dropVariable(m.langflow, 'LANGFLOW_SUPERUSER_PASSWORD')
    },
    { useful: /AUTO_LOGIN/ },
  ),
  odd('uploads are local, and the files of all replicas are on one ReadWriteMany volume', (m) => {
    setVariable(m.langflow, 'LANGFLOW_STORAGE_TYPE', 'local')
    dropVariable(m.langflow, 'LANGFLOW_OBJECT_STORAGE_BUCKET_NAME')
    const volume = volumeOf(m.pod, 'langflow-state')
    delete volume.emptyDir
    volume.persistentVolumeClaim = { claimName: 'langflow-files' }
    m.add(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: langflow-files }
spec: { accessModes: [ReadWriteMany], resources: { requests: { storage: 10Gi } } }
`)
  }),
  odd('a volume that all replicas only read is ReadOnlyMany', (m) => {
    m.pod.volumes.push({ name: 'models', persistentVolumeClaim: { claimName: 'models', readOnly: true } })
    m.langflow.volumeMounts.push({ name: 'models', mountPath: '/models', readOnly: true })
    m.add(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: models }
spec: { accessModes: [ReadOnlyMany], resources: { requests: { storage: 10Gi } } }
`)
  }),
  odd(
    'each pod of a StatefulSet has its own ReadWriteOnce volume for caches',
    (m) => {
      m.langflow.volumeMounts.push({ name: 'cache', mountPath: '/cache' })
      m.workload.spec.volumeClaimTemplates = [
        {
          metadata: { name: 'cache' },
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
        },
      ]
    },
    { base: 'stateful-set' },
  ),
  odd('flows come from a ConfigMap, and a change starts LangFlow again', (m) => {
    m.add('apiVersion: v1\nkind: ConfigMap\nmetadata: { name: flows }\ndata: { a.json: "{}" }')
    m.pod.volumes.push({ name: 'flows', configMap: { name: 'flows' } })
    m.langflow.volumeMounts.push({ name: 'flows', mountPath: '/flows', readOnly: true })
    setVariable(m.langflow, 'LANGFLOW_LOAD_FLOWS_PATH', '/flows')
    setVariable(m.langflow, 'LEADER_HANDOVER_ON_CHANGE', '/flows')
  }),
  odd('flows come from a sidecar of git-sync', (m) => {
    m.pod.volumes.push({ name: 'flows', emptyDir: {} })
    m.pod.initContainers.push({
      name: 'git-sync',
      image: 'registry.k8s.io/git-sync/git-sync:v4.5.0',
      restartPolicy: 'Always',
      volumeMounts: [{ name: 'flows', mountPath: '/git' }],
    })
    m.langflow.volumeMounts.push({ name: 'flows', mountPath: '/git', readOnly: true })
    setVariable(m.langflow, 'LEADER_HANDOVER_ON_CHANGE', '/git/current/flows')
  }),
  odd("a key of LangFlow's Secret has its value in data and the rest in stringData", (m) => {
    const secret = m.get('Secret')
    secret.data = { 'database-url': Buffer.from(m.secret['database-url']).toString('base64') }
    delete m.secret['database-url']
    variableOf(m.langflow, 'LANGFLOW_DATABASE_URL').valueFrom.secretKeyRef.optional = true
  }),
  ...(
    [
      ['an ExternalSecret', 'ExternalSecret', { data: [{ secretKey: 'database-url' }] }],
      [
        'an ExternalSecret with all keys of a path',
        'ExternalSecret',
        { dataFrom: [{ extract: { key: 'db' } }] },
      ],
      ['a SealedSecret', 'SealedSecret', { encryptedData: { 'database-url': 'AgBy8hCi' } }],
    ] as const
  ).map(([what, kind, spec]) =>
    odd(
      `the URL of the database comes from ${what}`,
      (m) => {
        m.objects.push({ kind, metadata: { name: 'db' }, spec })
        setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', {
          secretKeyRef: { name: 'db', key: 'database-url' },
        })
      },
      { useful: /Secret\/db/ },
    ),
  ),
  odd('the URL of the database refers to variables before it, and has an escaped dollar sign', (m) => {
    m.langflow.env.unshift({ name: 'DB_HOST', value: 'host' })
    setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://user:$$(no)@$(DB_HOST)/langflow')
  }),
]

export const ODD: readonly OddRow[] = [
  ...CHARTS,
  ...FORMATS,
  ...WORKLOADS,
  ...CONTAINERS,
  ...NEAR_MISSES,
  ...AROUND,
  ...STATE,
]
