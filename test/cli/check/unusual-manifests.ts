import {
  dropVariable,
  type Loose,
  type ManifestSet,
  mountOf,
  setVariable,
  setVolume,
  volumeOf,
} from './manifest-set.ts'
import { autoscaler, claim, httpRoute, ingress, langflowMounts, tokenSecret } from './mistakes.ts'
import type { Base } from './sound-manifests.ts'

/** An unusual installation that works: each finding in it, beside those of its base, is a false alarm. */
export interface Unusual {
  readonly name: string
  readonly base: Base
  readonly edit: (manifests: ManifestSet) => void
}

const oddly =
  (base: Base) =>
  (name: string, edit: Unusual['edit']): Unusual => ({ name, base, edit })

const { assign } = Object
const odd = oddly('production')

export const UNUSUAL: readonly Unusual[] = [
  odd('the stream has the objects in the opposite order', (m) => {
    m.objects.reverse()
  }),
  odd('only the subject of the binding has a namespace, as Helm writes it', (m) => {
    m.get('RoleBinding').subjects[0].namespace = 'langflow'
  }),
  odd('the objects come from the API server, with its defaults and status', (m) => {
    for (const object of m.objects) {
      assign(object.metadata, {
        uid: '7f2c6d0e-5a5b-4d2f-9d0e-1f2a3b4c5d6e',
        resourceVersion: '12345',
        creationTimestamp: '2026-11-01T10:00:00Z',
        managedFields: [{ manager: 'kubectl', operation: 'Apply' }],
      })
    }
    m.intoNamespace('langflow')
    assign(m.service.spec, { clusterIP: '10.96.3.4', sessionAffinity: 'None', type: 'ClusterIP' })
    m.members.spec.clusterIPs = ['None']
    m.pod.serviceAccount = m.pod.serviceAccountName
    assign(m.pod, { dnsPolicy: 'ClusterFirst', restartPolicy: 'Always', schedulerName: 'default-scheduler' })
    assign(m.workload, { status: { replicas: 2, readyReplicas: 2, observedGeneration: 4 } })
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
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: { name: frontend }
spec: { scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: frontend }, minReplicas: 1, maxReplicas: 9 }
`)
  }),
  odd('a second, independent installation is in the same namespace', (m) => {
    m.addTwin('staging')
  }),
  odd('a second installation has the same names in another namespace, and its own database', (m) => {
    m.intoNamespace('team-a')
    m.addCopy('team-b').secret['database-url'] = 'postgresql://user:password@host/team-b'
  }),
  odd('two namespaces have a database each, by one URL whose host is a Service of the namespace', (m) => {
    m.secret['database-url'] = 'postgresql://user:password@postgresql/langflow'
    m.intoNamespace('team-a')
    m.addCopy('team-b')
  }),
  odd('kustomize adds a label to every selector and template', (m) => {
    const add = (labels: Loose) => assign(labels, { env: 'prod' })
    add(m.workload.spec.selector.matchLabels)
    add(m.workload.spec.template.metadata.labels)
    for (const service of [m.service, m.members]) add(service.spec.selector)
    add(m.get('PodDisruptionBudget').spec.selector.matchLabels)
    const { spec } = m.get('NetworkPolicy')
    add(spec.podSelector.matchLabels)
    add(spec.ingress[1].from[0].podSelector.matchLabels)
  }),
  odd('there are three replicas', (m) => assign(m.workload.spec, { replicas: 3 })),
  odd('an autoscaler holds two replicas, and the Deployment names no number', (m) => {
    delete m.workload.spec.replicas
    m.add(autoscaler(m, 2, 2))
  }),
  oddly('smallest')('in readiness mode, 67 % of three replicas may be unavailable', (m) => {
    m.workload.spec.replicas = 3
    m.workload.spec.strategy.rollingUpdate = { maxSurge: 0, maxUnavailable: '67%' }
  }),
  oddly('smallest')('in readiness mode, both limits are 0', (m) => {
    m.workload.spec.strategy.rollingUpdate = { maxSurge: 0, maxUnavailable: '49%' }
  }),
  odd('a budget requires one Ready pod in front mode', (m) => {
    m.get('PodDisruptionBudget').spec = {
      minAvailable: 1,
      selector: m.get('PodDisruptionBudget').spec.selector,
    }
  }),
  oddly('stateful-set')('a StatefulSet in front mode starts its pods in order', (m) => {
    setVariable(m.agent, 'LEADER_TRAFFIC', 'front')
    setVariable(m.agent, 'LEADER_STANDBY', 'warm')
    m.agent.readinessProbe.httpGet.path = '/frontz'
    m.agent.readinessProbe.failureThreshold = 3
    m.pod.terminationGracePeriodSeconds = 105
    m.workload.spec.podManagementPolicy = 'OrderedReady'
    m.langflow.ports = [{ name: 'http', containerPort: 8091 }]
    m.langflow.command = m.langflow.command.map((word: string) => word.replace('0.0.0.0', '127.0.0.1'))
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
  odd('a flag of the agent overrides a variable', (m) => {
    setVariable(m.agent, 'LEADER_STANDBY', 'cold')
    m.agent.args = ['agent', '--standby=warm']
  }),
  odd("the agent's target is a name", (m) => {
    setVariable(m.agent, 'LEADER_TARGET', 'http://localhost:7860')
  }),
  oddly('smallest')('LangFlow listens on every IPv6 address', (m) => {
    m.langflow.args = ['langflow', 'run', '--host=::', '--port=7860']
  }),
  odd('a headless Service for users has a name of a port that no container has', (m) => {
    m.service.spec.clusterIP = 'None'
    m.service.spec.ports[0].targetPort = 'web'
  }),
  odd('each agent is named in LEADER_PEERS', (m) => {
    m.intoNamespace('langflow')
    const domain = 'langflow-members.langflow.svc:8090'
    setVariable(m.agent, 'LEADER_PEERS', `langflow-0.${domain},langflow-1.${domain}`)
  }),
  odd('the token is at its path below the parent directory', (m) => {
    mountOf(m.agent, 'token').mountPath = '/var/run/secrets/kubernetes.io'
    for (const source of volumeOf(m.pod, 'token').projected.sources)
      if (source.serviceAccountToken) source.serviceAccountToken.path = 'serviceaccount/token'
  }),
  odd('the members Service is named with its domain', (m) => {
    m.intoNamespace('langflow')
    setVariable(m.agent, 'LEADER_PEERS', 'langflow-members.langflow.svc.cluster.local:8090')
    // The users' Service has the name of the namespace.
    m.objects.sort((a) => (a === m.service ? -1 : 0))
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
  odd("an init container with LangFlow's image only copies files", (m) => {
    m.pod.initContainers.push({
      name: 'files',
      image: m.langflow.image,
      command: ['cp', '-r', '/app/starter', '/app/data'],
      volumeMounts: [{ name: 'langflow-state', mountPath: '/app/data' }],
    })
  }),
  odd("LangFlow's container is not the first", (m) => {
    m.pod.containers.unshift({
      name: 'proxy',
      image: 'envoyproxy/envoy:v1',
      ports: [{ containerPort: 9901 }],
    })
  }),
  odd("LangFlow's readiness probe asks the agent", (m) => {
    m.langflow.readinessProbe = { httpGet: { path: '/frontz', port: 8090 }, periodSeconds: 2 }
  }),
  odd('the timings are longer, and consistent', (m) => {
    setVariable(m.agent, 'LEADER_LEASE_DURATION', '20s')
    setVariable(m.agent, 'LEADER_RENEW_DEADLINE', '15000ms')
    setVariable(m.agent, 'LEADER_RETRY_PERIOD', '3s')
  }),
  odd('the pod leaves the automatic token to its account, which turns it off', (m) => {
    delete m.pod.automountServiceAccountToken
  }),
  odd('the identity is made of the name and the UID of the pod', (m) =>
    setVariable(m.agent, 'LEADER_IDENTITY', '$(POD_NAME)_$(POD_UID)'),
  ),
  odd('agent and front listen on every IPv4 address', (m) => {
    setVariable(m.agent, 'LEADER_LISTEN', '0.0.0.0:8090')
    setVariable(m.agent, 'LEADER_FRONT_LISTEN', '0.0.0.0:8091')
  }),
  odd('a preStop hook waits, and the grace period is longer by that time', (m) => {
    m.langflow.lifecycle = { preStop: { sleep: { seconds: 10 } } }
    m.pod.terminationGracePeriodSeconds = 120
  }),
  odd("LangFlow's user interface is a sidecar", (m) => {
    m.pod.containers.push({
      name: 'langflow-frontend',
      image: 'langflowai/langflow-frontend:1.13.0',
      ports: [{ name: 'ui', containerPort: 8080 }],
    })
  }),
  odd('an image volume replaces the init container', (m) => {
    m.pod.initContainers = m.pod.initContainers.filter(({ name }: Loose) => name !== 'install')
    setVolume(m.pod, 'program', { image: { reference: m.agent.image } })
    const mount = mountOf(m.langflow, 'program')
    mount.mountPath = '/usr/lib/langflow-leader'
    mount.subPath = 'usr/lib/langflow-leader'
    m.langflow.command = m.langflow.command.map((word: string) =>
      word.replace('/opt/langflow-leader', '/usr/lib/langflow-leader'),
    )
  }),
  odd('the agent has a kubeconfig of a Secret instead of a token', (m) => {
    m.pod.volumes.push({ name: 'kube', secret: { secretName: 'kube' } })
    m.agent.volumeMounts = m.agent.volumeMounts.filter(({ name }: Loose) => name !== 'token')
    m.agent.volumeMounts.push({ name: 'kube', mountPath: '/kube', readOnly: true })
    setVariable(m.agent, 'LEADER_KUBECONFIG', '/kube/config')
  }),
  odd('LangFlow has a token for a cloud, which the API server refuses', (m) => {
    const token = { path: 'token', audience: 'sts.amazonaws.com', expirationSeconds: 86400 }
    langflowMounts(m, { projected: { sources: [{ serviceAccountToken: token }] } })
  }),
  odd("LangFlow has a Secret with another account's token", (m) => {
    langflowMounts(m, { secret: { secretName: tokenSecret(m, 'reader') } })
  }),
  odd("only a sidecar has a Secret with the account's token", (m) => {
    m.pod.volumes.push({ name: 'api', secret: { secretName: tokenSecret(m) } })
    m.pod.containers.push({ name: 'x', image: 'x', volumeMounts: [{ name: 'api', mountPath: '/api' }] })
  }),
  odd('the Service has port 80 and a port number as its target', (m) => {
    m.service.spec.ports = [{ port: 80, targetPort: 8091 }]
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
  odd('the rights are in a ClusterRole, bound in the namespace', (m) => {
    m.get('Role').kind = 'ClusterRole'
    m.get('RoleBinding').roleRef.kind = 'ClusterRole'
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
  odd('a policy denies all ingress, and the policy of LangFlow allows it', (m) => {
    m.add(`
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: default-deny }
spec: { podSelector: {}, policyTypes: [Ingress] }
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
  odd('the NetworkPolicy allows a range of ports', (m) => {
    m.get('NetworkPolicy').spec.ingress[1].ports = [{ port: 8000, endPort: 8999 }]
  }),
  oddly('injected')('an optional Secret is missing', (m) => {
    m.langflow.envFrom.push({ secretRef: { name: 'provider-keys', optional: true } })
  }),
  oddly('injected')('a variable of LangFlow replaces one of envFrom', (m) => {
    setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', 'postgresql://user:password@host/app')
    m.secret.LANGFLOW_DATABASE_URL = 'sqlite:////tmp/langflow.db'
  }),
  odd('the database URL comes from a ConfigMap', (m) => {
    m.add(`
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { url: "postgresql://langflow@db.example.org/langflow" }
`)
    setVariable(m.langflow, 'LANGFLOW_DATABASE_URL', { configMapKeyRef: { name: 'settings', key: 'url' } })
  }),
  odd('uploads are local, and the files of all replicas are on one ReadWriteMany volume', (m) => {
    setVariable(m.langflow, 'LANGFLOW_STORAGE_TYPE', 'local')
    dropVariable(m.langflow, 'LANGFLOW_OBJECT_STORAGE_BUCKET_NAME')
    setVolume(m.pod, 'langflow-state', { persistentVolumeClaim: { claimName: 'langflow-files' } })
    m.add(claim('langflow-files', 'ReadWriteMany'))
  }),
  oddly('stateful-set')('each pod of a StatefulSet has its own ReadWriteOnce volume for caches', (m) => {
    m.langflow.volumeMounts.push({ name: 'cache', mountPath: '/cache' })
    m.workload.spec.volumeClaimTemplates = [
      {
        metadata: { name: 'cache' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
      },
    ]
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
  ...[
    'user:p%40s%2Fs%23@host/langflow',
    'user:password@host/langflow?application_name=a@b/c',
    'user:password@/langflow?host=/cloudsql/project:region:db',
    'user:password@[fd00::1]:5432/langflow',
    'user:password@first,second/langflow?target_session_attrs=read-write',
  ].map((rest) =>
    odd(`the database is postgresql://${rest}`, (m) => {
      m.secret['database-url'] = `postgresql://${rest}`
    }),
  ),
  ...[
    { runAsUser: 0, runAsNonRoot: false, capabilities: { drop: ['ALL'] } },
    { runAsNonRoot: true },
    { runAsUser: 1000620000 },
    { capabilities: { drop: ['ALL'] } },
  ].map((context) =>
    odd(`LangFlow's only user is by ${JSON.stringify(context)}`, (m) => {
      delete m.pod.securityContext
      assign(m.langflow, { image: 'registry.example.org/flows:1', securityContext: context })
    }),
  ),
  odd("a mirror of LangFlow's own image sets its user", (m) => {
    delete m.pod.securityContext
    assign(m.langflow, { image: 'registry.example.org/langflowai/langflow:1.13.0', securityContext: {} })
  }),
  ...[
    { LANGFLOW_WORKERS: '2', LANGFLOW_JOB_QUEUE_TYPE: 'redis' },
    { LANGFLOW_WORKERS: '2', LANGFLOW_DANGEROUSLY_ALLOW_MULTI_WORKER_WITHOUT_SHARED_QUEUE: 'true' },
    { LANGFLOW_WORKERS: '1' },
  ].map((variables) =>
    odd(`LangFlow has the variables ${JSON.stringify(variables)}`, (m) => {
      for (const [name, value] of Object.entries(variables)) setVariable(m.langflow, name, value)
    }),
  ),
  odd('a flag overrides the number of workers', (m) => {
    setVariable(m.langflow, 'LANGFLOW_WORKERS', '4')
    m.langflow.args.push('--workers', '1')
  }),
  odd('service links are on, and a variable sets the port', (m) => {
    delete m.pod.enableServiceLinks
    setVariable(m.langflow, 'LANGFLOW_PORT', '7860')
  }),
  oddly('injected')('service links are on, and no Service has a name of LangFlow', (m) => {
    delete m.pod.enableServiceLinks
  }),
  ...[
    {
      exec: {
        command: ['sh', '-c', 'i=0; until nc -z localhost 7860 || [ $((i+=1)) -gt 9 ]; do sleep 1; done'],
      },
    },
    { exec: { command: ['sh', '-c', '(until nc -z localhost 7860; do sleep 1; done; touch /tmp/up) &'] } },
    { exec: { command: ['sh', '-c', 'while read -r line; do echo $line; done < /etc/motd'] } },
    { httpGet: { path: '/workloadz', port: 8090 } },
  ].map((postStart) =>
    odd(`a postStart hook is ${JSON.stringify(postStart)}`, (m) => {
      m.langflow.lifecycle = { postStart }
    }),
  ),
  odd("a variable sets LangFlow's host to the loopback address", (m) => {
    m.langflow.args = ['langflow', 'run', '--port', '7860']
    setVariable(m.langflow, 'LANGFLOW_HOST', '127.0.0.1')
  }),
  odd('an Ingress leads to the number of the port', (m) => m.add(ingress('langflow', 'number: 7860'))),
  odd('an Ingress leads to LangFlow, and to a Service of another stream', (m) => {
    const { http } = m.add(ingress('langflow', 'name: http')).spec.rules[0]
    http.paths.push({ path: '/oauth2', backend: { service: { name: 'oauth2-proxy', port: { number: 80 } } } })
  }),
  odd('an HTTPRoute leads to the Service', (m) => m.add(httpRoute('langflow', 7860))),
  odd('an HTTPRoute leads to a Service of another namespace', (m) => {
    m.intoNamespace('langflow')
    m.add(httpRoute('langflow', 80)).spec.rules[0].backendRefs[0].namespace = 'other'
  }),
  ...[
    [{ ipBlock: { cidr: '203.0.113.0/24' } }, { podSelector: { matchLabels: { app: 'shop' } } }],
    undefined,
  ].map((from) =>
    odd(`the policy admits ${JSON.stringify(from)} to a LoadBalancer`, (m) => {
      m.service.spec.type = 'LoadBalancer'
      m.get('NetworkPolicy').spec.ingress[0].from = from
    }),
  ),
  odd('all objects are in one List', (m) => {
    m.objects = [{ apiVersion: 'v1', kind: 'List', items: m.objects }]
  }),
  odd('a NodePort has no policy', (m) => {
    m.service.spec.type = 'NodePort'
    m.drop('NetworkPolicy')
  }),
  ...[
    {
      podSelector: {
        matchExpressions: [{ key: 'app.kubernetes.io/name', operator: 'In', values: ['langflow'] }],
      },
    },
    { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'langflow' } } },
    { ipBlock: { cidr: '10.0.0.0/8' } },
  ].map((peer) =>
    odd(`replicas ask each other for consent by ${JSON.stringify(peer)}`, (m) => {
      m.intoNamespace('langflow')
      setVariable(m.agent, 'LEADER_FAILSAFE', 'peers')
      m.get('NetworkPolicy').spec.ingress[1].from = [peer]
    }),
  ),
]
