import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CATALOGUE } from '../../../agent/cli/check/check.ts'
import type { ClusterFacts } from '../../../agent/cli/check/cluster-facts.ts'
import type { Fields } from '../../../agent/cli/manifests/manifest.ts'
import type { Options } from '../inject/streams.ts'
import { findingsIn, healthy, type Loose, QUIET, resultsOf } from './facts.ts'

interface Example {
  readonly code: string
  readonly outcome?: 'error' | 'warning' | 'unknown'
  readonly message: RegExp
  readonly options?: Options
  readonly kind?: string
  /** Breaks it. */
  readonly change?: (parts: Parts) => void
  readonly cluster?: Partial<ClusterFacts>
  /** What certainly does not exist. */
  readonly absent?: readonly string[]
}

/** What is changed most, by short names. */
interface Parts {
  readonly all: Loose[]
  readonly workload: Loose
  readonly spec: Loose
  readonly pod: Loose
  readonly agent: Loose
  readonly langflow: Loose
  readonly service: Loose
  readonly members: Loose
  readonly role: Loose
}

function partsOf(all: Loose[]): Parts {
  const named = (kind: string, name?: string) =>
    all.find((one) => one.kind === kind && (name === undefined || one.metadata.name === name))
  const workload = all.find(({ spec }) => spec?.template)
  const pod = workload.spec.template.spec
  return {
    all,
    workload,
    spec: workload.spec,
    pod,
    agent: pod.initContainers[1],
    langflow: pod.containers[0],
    service: named('Service', 'flows'),
    members: named('Service', 'app-members'),
    role: named('Role'),
  }
}

const setEnv = (container: Loose, name: string, value?: string) => {
  container.env = container.env.filter((one: Loose) => one.name !== name)
  if (value !== undefined) container.env.push({ name, value })
}
const policy = (spec: object) => ({
  kind: 'NetworkPolicy',
  metadata: { name: 'deny' },
  spec: { podSelector: {}, ...spec },
})
const budget = (spec: object) => ({
  kind: 'PodDisruptionBudget',
  metadata: { name: 'b' },
  spec: { selector: { matchLabels: { app: 'flows' } }, ...spec },
})
/** Whoever calls LangFlow needs the label. */
const clientsOnly = policy({
  ingress: [
    {
      from: [{ namespaceSelector: { matchLabels: { 'langflow-leader/client': 'true' } } }],
      ports: [{ port: 7860 }],
    },
    { from: [{ podSelector: { matchLabels: { app: 'flows' } } }], ports: [{ port: 8090 }] },
  ],
})
const egress = (...rules: object[]) =>
  policy({ policyTypes: ['Egress'], egress: [...rules, { ports: [{ port: 53, protocol: 'UDP' }] }] })
const hidden = (...kinds: string[]) => ({ hidden: new Map(kinds.map((kind) => [kind, 'no'])) })
const client = (labels: object, phase: string) => ({
  metadata: { name: 'c', labels: { 'langflow-leader/client': 'true', ...labels } },
  status: { phase },
})
const mount = ({ pod, langflow }: Parts, volume: object, mountPath = '/data') => {
  pod.volumes.push({ name: 'data', ...volume })
  langflow.volumeMounts.push({ name: 'data', mountPath })
}
const DATA = { persistentVolumeClaim: { claimName: 'data' } }
const claim = (...accessModes: string[]) => ({
  kind: 'PersistentVolumeClaim',
  metadata: { name: 'data' },
  spec: { accessModes },
})
const fromSecret = ({ langflow }: Parts, name: string) => {
  setEnv(langflow, name)
  langflow.env.push({ name, valueFrom: { secretKeyRef: { name: 's', key: 'k' } } })
}
const annotate =
  (annotations: Readonly<Record<string, string>>) =>
  ({ spec }: Parts) =>
    (spec.template.metadata.annotations = annotations)
const ISTIO = 'traffic.sidecar.istio.io'
const IN_ISTIO = { 'sidecar.istio.io/inject': 'true', [`${ISTIO}/excludeInboundPorts`]: '8090' }
const PAST_API = { [`${ISTIO}/excludeOutboundIPRanges`]: '10.96.0.0/16' }
const IN_LINKERD = { 'linkerd.io/inject': 'enabled', 'config.linkerd.io/skip-inbound-ports': '8000-9000' }
const FRONT: Options = { traffic: 'front' }
/** As `inject --traffic=front` and deploy/production have it. */
const fronted = ({ service, agent, langflow, pod }: Parts) => {
  setEnv(agent, 'LEADER_TRAFFIC', 'front')
  agent.readinessProbe.httpGet.path = '/frontz'
  langflow.ports = [{ name: 'http', containerPort: 8091 }]
  setEnv(langflow, 'LANGFLOW_PORT', '7860')
  service.spec.ports = [{ name: 'http', port: 7860, targetPort: 'http' }]
  pod.terminationGracePeriodSeconds = 75
}
const front =
  (change: (parts: Parts) => unknown = () => {}) =>
  (parts: Parts) => {
    fronted(parts)
    change(parts)
  }
const between = (...ports: number[]) => ({
  from: [{ podSelector: { matchLabels: { app: 'flows' } } }],
  ports: ports.map((port) => ({ port })),
})
const ingress = (annotations: object, name = 'flows') => ({
  kind: 'Ingress',
  metadata: { name: 'i', annotations },
  spec: { rules: [{ http: { paths: [{ backend: { service: { name } } }] } }] },
})
const NGINX = 'nginx.ingress.kubernetes.io/proxy-read-timeout'
const pods = (status: object) => [{ metadata: { name: 'app-1', labels: { app: 'flows' } }, status }]
const waiting = (reason: string) => ({
  containerStatuses: [{ name: 'langflow', image: 'x/y:1', state: { waiting: { reason } } }],
})
const replicas =
  (...statuses: (object | null)[]) =>
  () =>
    ({
      rows: statuses.map((status, i) => ({
        pod: `app-${i}`,
        node: null,
        status,
        problem: status === null ? 'silent' : null,
      })),
      tookMs: 100,
    }) as Loose
const NO_RIGHTS = (verb: string, resource: string, group: string, name: string | null) => ({
  ownRights: [{ right: { verb, resource, group, name }, allowed: false }],
})

const EXAMPLES: readonly Example[] = [
  {
    code: 'kubernetes-version',
    message: /^Kubernetes 1\.28 has no native sidecars/,
    cluster: { version: '1.28' },
  },
  {
    code: 'api-latency',
    message: /too slow for a renew deadline of 10000 ms \(20 requests, median 2600 ms/,
    cluster: { latency: { requests: 20, medianMs: 2_600, slowestMs: 3_000 } },
  },
  {
    code: 'api-latency',
    outcome: 'warning',
    message: /slow at times for a renew deadline of 4000 ms/,
    options: { agentVariables: [{ name: 'LEADER_PRESET', value: 'fast' }] },
    cluster: { latency: { requests: 20, medianMs: 5, slowestMs: 1_100 } },
  },
  {
    code: 'clock-server',
    message: /clock is 4\.0 s behind the API server's/,
    cluster: { clock: { aheadMs: -4_000, withinMs: 502 } },
  },
  {
    code: 'clock-server',
    outcome: 'unknown',
    message: /sends no date/,
    cluster: { clock: { aheadMs: null, why: 'the API server sends no date' } },
  },
  {
    code: 'objects-visible',
    outcome: 'unknown',
    message: /^Service objects were not looked at: no/,
    cluster: { hidden: new Map([['Service', 'no']]) },
  },
  {
    code: 'operator-get-lease',
    message: /may not get leases\.coordination\.k8s\.io "app-leader" in namespace flows/,
    cluster: NO_RIGHTS('get', 'leases', 'coordination.k8s.io', 'app-leader'),
  },
  {
    code: 'operator-patch-lease',
    message: /if you need switchover, pause and resume/,
    cluster: NO_RIGHTS('patch', 'leases', 'coordination.k8s.io', 'app-leader'),
  },
  {
    code: 'operator-list-pods',
    message: /may not list pods in/,
    cluster: NO_RIGHTS('list', 'pods', '', null),
  },
  {
    code: 'operator-proxy-pods',
    message: /may not get pods\/proxy in/,
    cluster: NO_RIGHTS('get', 'pods/proxy', '', null),
  },
  {
    code: 'langflow-found',
    message: /^found no LangFlow/,
    change: ({ all, workload }) => void all.splice(all.indexOf(workload), 1),
  },
  {
    code: 'langflow-found',
    outcome: 'unknown',
    message: /^found no LangFlow/,
    change: ({ all, workload }) => void all.splice(all.indexOf(workload), 1),
    cluster: { hidden: new Map([['Deployment', 'no']]) },
  },
  {
    code: 'langflow-found',
    message: /^Pod\/p: its container langflow runs LangFlow/,
    change: ({ all }) =>
      void all.push({
        kind: 'Pod',
        metadata: { name: 'p' },
        spec: { containers: [{ name: 'langflow', image: 'x' }] },
      }),
  },
  {
    code: 'langflow-image',
    message: /runs registry\.example\.org\/nginx:1, which is no LangFlow/,
    change: ({ langflow }) => (langflow.image = 'registry.example.org/nginx:1'),
  },
  {
    code: 'langflow-image',
    outcome: 'warning',
    message: /^its container web \(x\) was taken for LangFlow, since there is no other/,
    change: ({ langflow }) =>
      Object.assign(langflow, {
        name: 'web',
        image: 'x',
        command: [...langflow.command.slice(0, -2), 'start'],
      }),
  },
  {
    code: 'replicas-one',
    message: /one replica, so that none can take over/,
    change: ({ spec }) => (spec.replicas = 1),
  },
  {
    code: 'database-shared',
    message: /have a SQLite database each \(LANGFLOW_DATABASE_URL\)/,
    change: ({ langflow }) => setEnv(langflow, 'LANGFLOW_DATABASE_URL', 'sqlite:////data/x.db'),
  },
  {
    code: 'database-shared',
    message: /have a SQLite database each, so that/,
    change: ({ langflow }) => setEnv(langflow, 'LANGFLOW_DATABASE_URL'),
  },
  {
    code: 'database-shared',
    outcome: 'warning',
    message: /flows come from files/,
    change: ({ langflow }) => {
      setEnv(langflow, 'LANGFLOW_DATABASE_URL')
      setEnv(langflow, 'LANGFLOW_LOAD_FLOWS_PATH', '/flows')
    },
  },
  {
    code: 'database-shared',
    outcome: 'unknown',
    message: /may come from the key url of Secret\/s, and without it/,
    change: ({ langflow }) => {
      setEnv(langflow, 'LANGFLOW_DATABASE_URL')
      langflow.env.push({
        name: 'LANGFLOW_DATABASE_URL',
        valueFrom: { secretKeyRef: { name: 's', key: 'url', optional: true } },
      })
    },
  },
  {
    code: 'secret-key',
    message: /^LANGFLOW_SECRET_KEY is not 32 url-safe base64-encoded bytes/,
    change: ({ langflow }) => setEnv(langflow, 'LANGFLOW_SECRET_KEY', '0123456789'.repeat(6)),
  },
  {
    code: 'secret-key',
    message: /^LANGFLOW_SECRET_KEY is not in LangFlow's environment/,
    change: ({ langflow }) => setEnv(langflow, 'LANGFLOW_SECRET_KEY'),
  },
  {
    code: 'secret-key',
    message: /is not 32 url-safe/,
    change: ({ all, langflow }) => {
      setEnv(langflow, 'LANGFLOW_SECRET_KEY')
      langflow.env.push({ name: 'LANGFLOW_SECRET_KEY', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } })
      all.push({
        kind: 'Secret',
        metadata: { name: 's' },
        data: { k: Buffer.from('a'.repeat(64)).toString('base64') },
      })
    },
  },
  {
    code: 'auto-login',
    message: /whoever reaches it is its superuser/,
    change: ({ langflow }) => setEnv(langflow, 'LANGFLOW_AUTO_LOGIN', 'True'),
  },
  {
    code: 'log-env',
    message: /^while its database is away, .*: set LANGFLOW_LOG_ENV to container$/,
    change: ({ langflow }) => setEnv(langflow, 'LANGFLOW_LOG_ENV'),
  },
  {
    code: 'local-files',
    message: /stay in the pod that led/,
    change: ({ langflow }) => setEnv(langflow, 'LANGFLOW_STORAGE_TYPE'),
  },
  {
    code: 'volume-shared',
    message: /share the claim data, which only one node can mount \(ReadWriteOnce\)/,
    change: (parts) => {
      mount(parts, DATA)
      parts.all.push(claim('ReadWriteOnce'))
    },
  },
  {
    code: 'template-text',
    message: /^it has text at spec\.template\.spec\.containers\.0\.image that nobody rendered \(\$\{TAG\}\)/,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: as envsubst would replace it.
    change: ({ langflow }) => (langflow.image = 'langflow:${TAG}'),
  },
  {
    code: 'template-text',
    message: /^Service\/flows has text at metadata\.labels\.a .* \(\{\{ \.Release\.Name \}\}\)/,
    change: ({ service }) => (service.metadata.labels = { a: '{{ .Release.Name }}' }),
  },
  {
    code: 'template-text',
    message: /at metadata\.labels that nobody rendered/,
    change: ({ service }) => (service.metadata.labels = { '{ .Values.x }': null }),
  },
  {
    code: 'pod-processes',
    message: /^with shareProcessNamespace/,
    change: ({ pod }) => (pod.shareProcessNamespace = true),
  },
  { code: 'pod-host-network', message: /^with hostNetwork/, change: ({ pod }) => (pod.hostNetwork = true) },
  { code: 'pod-windows', message: /Windows nodes/, change: ({ pod }) => (pod.os = { name: 'windows' }) },
  {
    code: 'agent-missing',
    message: /^its pods have no agent/,
    change: ({ pod }) => void pod.initContainers.pop(),
  },
  {
    code: 'agent-settings',
    message: /^its agent would not start: --lease-duration \(5s\) must be longer/,
    change: ({ agent }) => setEnv(agent, 'LEADER_LEASE_DURATION', '5s'),
  },
  {
    code: 'agent-settings',
    message:
      /^its agent would not start: unknown environment variable LEADER_STANBY \(did you mean LEADER_STANDBY\?\)/,
    change: ({ agent }) => setEnv(agent, 'LEADER_STANBY', 'warm'),
  },
  {
    code: 'agent-settings',
    message: /^its launcher would not start: LEADER_STOP_TIMEOUT '7'/,
    change: ({ langflow }) => setEnv(langflow, 'LEADER_STOP_TIMEOUT', '7'),
  },
  {
    code: 'agent-place',
    message: /never ends, so that LangFlow never starts/,
    change: ({ agent }) => delete agent.restartPolicy,
  },
  {
    code: 'agent-place',
    outcome: 'warning',
    message: /stopped together with LangFlow/,
    change: ({ pod }) => pod.containers.push(...pod.initContainers.splice(1, 1)),
  },
  {
    code: 'launcher-missing',
    message: /starts LangFlow without the launcher/,
    change: ({ langflow }) => (langflow.command = ['langflow', 'run']),
  },
  {
    code: 'launcher-missing',
    outcome: 'unknown',
    message: /not to be seen: its own command names it/,
    change: ({ langflow }) => (langflow.command = ['sh', '-c', 'exec /opt/langflow-leader/node …']),
  },
  {
    code: 'agent-identity',
    message: /does not say who it is/,
    change: ({ agent }) => {
      for (const name of ['POD_NAME', 'POD_UID']) setEnv(agent, name)
    },
  },
  {
    code: 'agent-target',
    message: /asks LangFlow on port 7860 \(--target\), and its container langflow listens on 7000/,
    change: ({ langflow }) => setEnv(langflow, 'LANGFLOW_PORT', '7000'),
  },
  {
    code: 'agent-port-taken',
    message: /its container x has port 8090/,
    change: ({ pod }) => void pod.containers.push({ name: 'x', ports: [{ containerPort: 8090 }] }),
  },
  {
    code: 'agent-probes',
    message:
      /readinessProbe asks \/readyz\?exclude=leadership on port 8090: with --traffic=readiness let it ask \/readyz/,
    change: ({ agent }) => (agent.readinessProbe.httpGet.path = '/readyz?exclude=leadership'),
  },
  {
    code: 'agent-probes',
    message: /livenessProbe asks \/readyz/,
    change: ({ agent }) => (agent.livenessProbe.httpGet.path = '/readyz'),
  },
  {
    code: 'langflow-probes',
    message: /livenessProbe that asks LangFlow, which a standby does not run, so that the kubelet restarts/,
    change: ({ langflow }) => (langflow.livenessProbe = { httpGet: { path: '/health', port: 7860 } }),
  },
  {
    code: 'langflow-probes',
    message: /so that a standby is never Ready: remove it/,
    options: FRONT,
    change: ({ langflow }) => (langflow.readinessProbe = { tcpSocket: { port: 7860 } }),
  },
  {
    code: 'agent-socket',
    message: /which is not the same directory/,
    change: ({ langflow }) => langflow.volumeMounts.splice(1, 1),
  },
  {
    code: 'agent-socket',
    message: /give both the same --socket/,
    change: ({ langflow }) => setEnv(langflow, 'LEADER_SOCKET', '/run/langflow-leader/x.sock'),
  },
  {
    code: 'langflow-mounts',
    message: /mounts \/run\/langflow-leader writable/,
    change: ({ langflow }) => delete langflow.volumeMounts[1].readOnly,
  },
  {
    code: 'langflow-mounts',
    message: /mounts the agent's state/,
    change: ({ langflow }) => langflow.volumeMounts.push({ name: 'agent-state', mountPath: '/x' }),
  },
  {
    code: 'langflow-mounts',
    outcome: 'warning',
    message: /has no volume at \/var\/lib\/langflow-leader/,
    change: ({ agent }) => agent.volumeMounts.splice(1, 1),
  },
  {
    code: 'agent-user',
    message: /runs as user 1 and its container langflow as 2, without a common group/,
    change: ({ pod, agent, langflow }) => {
      pod.securityContext = {}
      agent.securityContext = { runAsUser: 1 }
      langflow.securityContext = { runAsUser: 2 }
    },
  },
  {
    code: 'agent-token',
    message: /has no token for the API server/,
    change: ({ agent }) => agent.volumeMounts.pop(),
  },
  {
    code: 'token-beside-flows',
    message: /has the token of the agent's account/,
    change: ({ pod }) => (pod.automountServiceAccountToken = true),
  },
  {
    code: 'token-beside-flows',
    message: /mounts a token \(the volume token\)/,
    change: ({ langflow }) => langflow.volumeMounts.push({ name: 'token', mountPath: '/x' }),
  },
  {
    code: 'grace-period',
    message: /\(30\) is shorter than .* \(40s\).*: set at least 40/,
    change: ({ pod }) => delete pod.terminationGracePeriodSeconds,
  },
  {
    code: 'stop-timeout',
    message: /agent's --stop-timeout is 30s and that of the launcher in container langflow 1m/,
    change: ({ langflow }) => setEnv(langflow, 'LEADER_STOP_TIMEOUT', '1m'),
  },
  {
    code: 'image-registry',
    message: /image langflow-leader:1 names no registry/,
    change: ({ agent }) => (agent.image = 'langflow-leader:1'),
  },
  ...['get', 'watch', 'update'].map((verb) => ({
    code: `agent-${verb}-lease`,
    message: new RegExp(
      `ServiceAccount/app-langflow-leader may not ${verb} leases.coordination.k8s.io "app-leader", which the election needs`,
    ),
    change: ({ role }: Parts) =>
      (role.rules[0].verbs = role.rules[0].verbs.filter((one: string) => one !== verb)),
  })),
  {
    code: 'agent-create-lease',
    message: /may not create leases/,
    change: ({ role }) => (role.rules[1].verbs = []),
  },
  {
    code: 'agent-get-lease',
    outcome: 'unknown',
    message: /no Role here is bound to it/,
    change: ({ all }) =>
      void all.splice(
        all.findIndex(({ kind }) => kind === 'RoleBinding'),
        1,
      ),
  },
  {
    code: 'agent-update-lease',
    message: /may not update leases/,
    cluster: {
      agentRights: () => [
        {
          right: { verb: 'update', group: 'coordination.k8s.io', resource: 'leases', name: 'app-leader' },
          allowed: false,
        },
      ],
    },
  },
  {
    code: 'agent-settings',
    message: /^its agent would not start: --traffic=front needs POD_IP: add it to/,
    change: front(({ agent }) => setEnv(agent, 'POD_IP')),
  },
  {
    code: 'agent-port-taken',
    message: /its container x has port 8091, which is the front's/,
    change: front(({ pod }) => void pod.containers.push({ name: 'x', ports: [{ containerPort: 8091 }] })),
  },
  {
    code: 'agent-port-taken',
    message: /its container langflow listens on port 8091, which is the front's/,
    change: front(({ langflow }) => setEnv(langflow, 'LANGFLOW_PORT', '8091')),
  },
  {
    code: 'agent-probes',
    message: /readinessProbe asks \/readyz on port 8090: with --traffic=front let it ask \/frontz/,
    change: front(({ agent }) => (agent.readinessProbe.httpGet.path = '/readyz')),
  },
  {
    code: 'grace-period',
    message: /\(45\) is shorter than .*, --hold-timeout and 5 s together \(1m10s\).*: set at least 70/,
    change: front(({ pod }) => (pod.terminationGracePeriodSeconds = 45)),
  },
  {
    code: 'service-leader',
    message:
      /^Service\/flows leads to LangFlow's own port 7860, past the fronts, .*: let its targetPort be 8091/,
    change: front(({ service }) => (service.spec.ports = [{ port: 80, targetPort: 7860 }])),
  },
  {
    code: 'service-leader',
    outcome: 'warning',
    message: /^Service\/flows is headless, .*: let them use port 8091/,
    change: front(
      ({ service }) => (service.spec = { ...service.spec, clusterIP: 'None', ports: [{ port: 7860 }] }),
    ),
  },
  {
    code: 'service-leader',
    message: /^Service\/flows leads to pods that are not Ready, whose fronts can only hold/,
    change: front(({ service }) => (service.spec.publishNotReadyAddresses = true)),
  },
  {
    code: 'service-leader',
    outcome: 'warning',
    message: /^no Service in this stream leads to its fronts/,
    change: front(({ all, service }) => void all.splice(all.indexOf(service), 1)),
  },
  {
    code: 'route-timeout',
    message:
      /^Ingress\/i gives up after 10s \(nginx\..*\), while a front still holds .*\(--hold-timeout 30s\)/,
    change: front(({ all }) => void all.push(ingress({ [NGINX]: '10' }))),
  },
  {
    code: 'route-timeout',
    message: /^Ingress\/i gives up after 500ms \(haproxy\.org/,
    change: front(({ all }) => void all.push(ingress({ 'haproxy.org/timeout-server': '500ms' }))),
  },
  {
    code: 'route-timeout',
    message: /^HTTPRoute\/r gives up after 15s \(timeouts\.request\)/,
    change: front(
      ({ all }) =>
        void all.push({
          kind: 'HTTPRoute',
          metadata: { name: 'r' },
          spec: { rules: [{ backendRefs: [{ name: 'flows' }], timeouts: { request: '15s' } }] },
        }),
    ),
  },
  {
    code: 'route-timeout',
    outcome: 'unknown',
    message: /^whether what stands before .* is not to be seen: no$/,
    change: front(),
    cluster: hidden('Ingress'),
  },
  {
    code: 'network-ingress',
    message: /^NetworkPolicy\/deny keeps the fronts from each other: add an ingress rule .* on port 8091/,
    change: front(
      ({ all }) =>
        void all.push(
          policy({
            ingress: [
              between(8090),
              { from: [{ podSelector: { matchLabels: { app: 'x' } } }], ports: [{ port: 'http' }] },
            ],
          }),
        ),
    ),
  },
  {
    code: 'network-ingress',
    message: /^NetworkPolicy\/deny keeps everybody from LangFlow: add an ingress rule for port 8091/,
    change: front(({ all }) => void all.push(policy({ ingress: [between(8090, 8091)] }))),
  },
  {
    code: 'network-egress',
    message: /^NetworkPolicy\/deny keeps the fronts from each other: add an egress rule .* on port 8091/,
    change: front(
      ({ all }) =>
        void all.push(
          egress(
            { ports: [{ port: 443 }] },
            { to: [{ podSelector: { matchLabels: { app: 'flows' } } }], ports: [{ port: 8090 }] },
          ),
        ),
    ),
  },
  {
    code: 'mesh-istio',
    message: /^Istio's proxy stands between a front and the others, .*: add 8091 to .*excludeOutboundPorts/,
    change: front(annotate({ ...IN_ISTIO, [`${ISTIO}/excludeOutboundPorts`]: '443,8090' })),
  },
  {
    code: 'mesh-linkerd',
    message: /^Linkerd's proxy stands between a front and the others, .*: add 8091/,
    change: front(annotate({ ...IN_LINKERD, 'config.linkerd.io/skip-outbound-ports': '443,8090' })),
  },
  ...['create', 'patch'].map((verb) => ({
    code: `agent-${verb}-events`,
    message: new RegExp(`may not ${verb} events.events.k8s.io`),
    change: ({ role }: Parts) =>
      (role.rules[2].verbs = role.rules[2].verbs.filter((one: string) => one !== verb)),
  })),
  {
    code: 'service-leader',
    message: /^Service\/flows leads to pods that are not Ready/,
    change: ({ service }) => (service.spec.publishNotReadyAddresses = true),
  },
  {
    code: 'peers',
    message: /hides those that are not Ready/,
    change: ({ members }) => delete members.spec.publishNotReadyAddresses,
  },
  {
    code: 'peers',
    message: /does not select their pods/,
    change: ({ members }) => (members.spec.selector = { app: 'other' }),
  },
  {
    code: 'peers',
    message: /listen on port 8090 and ask each other on port 1/,
    change: ({ agent }) => setEnv(agent, 'LEADER_PEERS', 'app-members:1'),
  },
  {
    code: 'peers',
    outcome: 'warning',
    message: /do not ask each other/,
    change: ({ agent }) => setEnv(agent, 'LEADER_PEERS'),
  },
  {
    code: 'peers',
    outcome: 'unknown',
    message: /there is no Service\/x here/,
    change: ({ agent }) => setEnv(agent, 'LEADER_PEERS', 'x:8090'),
  },
  {
    code: 'peers',
    message: /^there is no Service\/x, by which/,
    change: ({ agent }) => setEnv(agent, 'LEADER_PEERS', 'x:8090'),
    cluster: {},
  },
  {
    code: 'network-egress',
    message: /^NetworkPolicy\/deny keeps the agent from the API server/,
    change: ({ all }) => void all.push(policy({ policyTypes: ['Egress'] })),
  },
  {
    code: 'network-egress',
    message: /keeps the agents from each other: add an egress rule/,
    change: ({ all }) =>
      void all.push(
        policy({
          policyTypes: ['Egress'],
          egress: [{ ports: [{ port: 443 }, { port: 53, protocol: 'UDP' }] }],
        }),
      ),
  },
  {
    code: 'network-ingress',
    message: /^NetworkPolicy\/deny keeps the agents from each other/,
    change: ({ all }) => void all.push(policy({ ingress: [{ ports: [{ port: 7860 }] }] })),
  },
  {
    code: 'network-ingress',
    message: /^NetworkPolicy\/deny keeps everybody from LangFlow/,
    change: ({ all }) => void all.push(policy({ ingress: [{ ports: [{ port: 8000, endPort: 8100 }] }] })),
  },
  {
    code: 'network-ingress',
    outcome: 'warning',
    message: /nobody has it: kubectl label namespace/,
    change: ({ all }) => void all.push(clientsOnly),
    cluster: { clientNamespaces: [] },
  },
  {
    code: 'network-ingress',
    outcome: 'warning',
    message: /nobody has it/,
    change: ({ all }) => void all.push(clientsOnly),
    cluster: {
      clientNamespaces: [],
      pods: [
        client({}, 'Succeeded'),
        client({ 'app.kubernetes.io/name': 'langflow-leader-drill' }, 'Running'),
      ],
    },
  },
  {
    code: 'network-ingress',
    outcome: 'unknown',
    message: /whether anybody has it is not to be seen/,
    change: ({ all }) => void all.push(clientsOnly),
    cluster: { clientNamespaces: null },
  },
  ...['disruption-budget PodDisruptionBudget', 'autoscaler HorizontalPodAutoscaler'].map((words) => {
    const [code, kind] = words.split(' ')
    return {
      code: code!,
      outcome: 'unknown' as const,
      message: /^whether .* is not to be seen: no$/,
      cluster: hidden(kind!),
    }
  }),
  ...['network-egress', 'network-ingress'].map((code) => ({
    code,
    outcome: 'unknown' as const,
    message: /^whether no NetworkPolicy keeps .* is not to be seen: no$/,
    cluster: hidden('NetworkPolicy'),
  })),
  ...['mesh-istio', 'mesh-linkerd'].map((code) => ({
    code,
    outcome: 'unknown' as const,
    message: /^whether the namespace puts .* is not to be seen: no$/,
    cluster: hidden('Namespace'),
  })),
  ...['image-pull', 'pod-starts', 'replica-answers'].map((code) => ({
    code,
    outcome: 'unknown' as const,
    message: /is not to be seen: no$/,
    cluster: hidden('Pod'),
  })),
  ...[
    'replica-answers',
    'replica-problem',
    'clock-replicas',
    'secret-key-same',
    'timings-same',
    'flows-same',
  ].map((code) => ({
    code,
    outcome: 'unknown' as const,
    message: /^whether .* is not to be seen: no$/,
    cluster: hidden('pods/proxy'),
  })),
  {
    code: 'lease-object',
    outcome: 'unknown',
    message: /^whether the Lease exists is not to be seen: no$/,
    cluster: { ...hidden('Lease'), leases: new Map() },
  },
  {
    code: 'objects-visible',
    outcome: 'unknown',
    message: /^pods\/proxy was not looked at: no$/,
    cluster: hidden('pods/proxy'),
  },
  {
    code: 'volume-shared',
    outcome: 'unknown',
    message: /^whether every replica can mount the claim data is not to be seen: it is not in this stream$/,
    change: (parts) => mount(parts, DATA),
  },
  {
    code: 'volume-shared',
    outcome: 'unknown',
    message: /can mount the claim data is not to be seen: no$/,
    change: (parts) => mount(parts, DATA),
    cluster: hidden('PersistentVolumeClaim'),
  },
  {
    code: 'volume-shared',
    message: /^there is no PersistentVolumeClaim data, so that no pod starts/,
    change: (parts) => mount(parts, DATA),
    cluster: {},
  },
  {
    code: 'database-shared',
    outcome: 'warning',
    message: /share one SQLite file on the claim data: the locks of a network file system/,
    change: (parts) => {
      setEnv(parts.langflow, 'LANGFLOW_DATABASE_URL', 'sqlite:////data/x.db')
      mount(parts, DATA)
    },
  },
  {
    code: 'database-shared',
    outcome: 'warning',
    message: /share one SQLite file on the claim data/,
    change: (parts) => {
      setEnv(parts.langflow, 'LANGFLOW_DATABASE_URL')
      setEnv(parts.langflow, 'LANGFLOW_SAVE_DB_IN_CONFIG_DIR', 'true')
      setEnv(parts.langflow, 'LANGFLOW_CONFIG_DIR', '/data/config')
      mount(parts, DATA)
    },
  },
  {
    code: 'database-shared',
    kind: 'StatefulSet',
    message: /have a SQLite database each/,
    change: (parts) => {
      setEnv(parts.langflow, 'LANGFLOW_DATABASE_URL', 'sqlite:////data/x.db')
      parts.spec.volumeClaimTemplates = [{ metadata: { name: 'data' } }]
      mount(parts, DATA)
    },
  },
  ...['1', 'T', 'on'].map((value) => ({
    code: 'auto-login',
    message: /whoever reaches it is its superuser/,
    change: ({ langflow }: Parts) => setEnv(langflow, 'LANGFLOW_AUTO_LOGIN', value),
  })),
  {
    code: 'auto-login',
    outcome: 'unknown',
    message: /LANGFLOW_AUTO_LOGIN may come from the key k of Secret\/s$/,
    change: (parts) => fromSecret(parts, 'LANGFLOW_AUTO_LOGIN'),
  },
  {
    code: 'auto-login',
    outcome: 'unknown',
    message: /LANGFLOW_AUTO_LOGIN may come from ConfigMap\/c$/,
    change: ({ langflow }) => (langflow.envFrom = [{ configMapRef: { name: 'c' } }]),
  },
  {
    code: 'variable-sources',
    message:
      /^there is no Secret "s" \(LANGFLOW_SECRET_KEY, LANGFLOW_DATABASE_URL\), so that no pod starts: make it$/,
    change: (parts) => {
      fromSecret(parts, 'LANGFLOW_SECRET_KEY')
      fromSecret(parts, 'LANGFLOW_DATABASE_URL')
    },
    absent: ['Secret/s'],
  },
  {
    code: 'variable-sources',
    message: /^there is no ConfigMap "c" \(envFrom\)/,
    change: ({ agent }) => (agent.envFrom = [{ configMapRef: { name: 'c' } }]),
    absent: ['ConfigMap/c'],
  },
  {
    code: 'database-shared',
    message: /have a SQLite database each, so that/,
    change: ({ langflow }) => {
      setEnv(langflow, 'LANGFLOW_DATABASE_URL')
      langflow.envFrom = [{ secretRef: { name: 's', optional: true } }]
    },
    absent: ['Secret/s'],
  },
  {
    code: 'template-text',
    outcome: 'warning',
    message: /env\.\d\.value that nobody rendered \(\{\{question\}\}\): .*, unless it is meant so$/,
    change: ({ langflow }) => setEnv(langflow, 'PROMPT', 'Answer {{question}}'),
  },
  {
    code: 'template-text',
    message: /at spec\.template\.spec\.nodeName that nobody rendered/,
    change: ({ langflow, pod }) => {
      setEnv(langflow, 'PROMPT', 'Answer {{question}}')
      pod.nodeName = '{{ .Values.node }}'
    },
  },
  {
    code: 'token-beside-flows',
    message: /mounts a token \(the volume data\)/,
    change: (parts) => {
      mount(parts, { secret: { secretName: 'robot' } })
      parts.all.push({
        kind: 'Secret',
        metadata: { name: 'robot' },
        type: 'kubernetes.io/service-account-token',
      })
    },
  },
  {
    code: 'token-beside-flows',
    message: /has the token of the agent's account/,
    // The stream has an account named as inject names them, which these pods do not use.
    change: ({ pod }) => {
      for (const key of ['serviceAccountName', 'serviceAccount', 'automountServiceAccountToken'])
        delete pod[key]
    },
  },
  {
    code: 'token-beside-flows',
    outcome: 'unknown',
    message: /has the token of the agent's account is not to be seen: no$/,
    change: ({ pod }) => delete pod.automountServiceAccountToken,
    cluster: hidden('ServiceAccount'),
  },
  {
    code: 'agent-token',
    outcome: 'unknown',
    message: /has a token is not to be seen: it would be in Secret\/robot$/,
    change: ({ pod }) =>
      Object.assign(
        pod.volumes.find(({ name }: Loose) => name === 'token'),
        { projected: undefined, secret: { secretName: 'robot' } },
      ),
  },
  {
    code: 'service-leader',
    outcome: 'unknown',
    message: /^whether Services lead to the leader alone, or to the fronts is not to be seen: no$/,
    options: FRONT,
    change: ({ all, service }) => void all.splice(all.indexOf(service), 1),
    cluster: hidden('Service'),
  },
  {
    code: 'mesh-istio',
    message: /^Istio's proxy stands between an agent and the others: add 8090 to .*excludeOutboundPorts$/,
    change: annotate({ ...IN_ISTIO, ...PAST_API }),
    cluster: {},
  },
  {
    code: 'mesh-istio',
    outcome: 'unknown',
    message: /excludeOutboundIPRanges \(10\.96\.0\.0\/16\) has the API server's cluster IP is not to be seen/,
    change: annotate({ ...IN_ISTIO, ...PAST_API }),
  },
  {
    code: 'mesh-istio',
    message: /^Istio's proxy stands between the agent and the API server: it starts after the agent/,
    change: annotate({ ...IN_ISTIO, ...PAST_API }),
    cluster: { apiAddress: '10.97.0.1' },
  },
  {
    code: 'mesh-istio',
    message: /^Istio's proxy stands between the agent and the API server/,
    change: ({ spec }) => (spec.template.metadata.labels['istio.io/rev'] = 'stable'),
  },
  {
    code: 'mesh-istio',
    message: /\(holdApplicationUntilProxyStarts does not help: the agent is an init container/,
    change: annotate({ ...IN_ISTIO, 'proxy.istio.io/config': '{ "holdApplicationUntilProxyStarts": true }' }),
  },
  {
    code: 'mesh-istio',
    outcome: 'warning',
    message: /^Istio's proxy stands between the agent and the API server: annotate/,
    change: annotate({ ...IN_ISTIO, 'sidecar.istio.io/nativeSidecar': 'true' }),
  },
  {
    code: 'mesh-istio',
    outcome: 'warning',
    message: /^Istio's proxy stands between the agent and the API server: annotate/,
    change: annotate(IN_ISTIO),
    cluster: {
      pods: [
        {
          metadata: { labels: { app: 'flows' } },
          spec: { initContainers: [{ name: 'istio-proxy', restartPolicy: 'Always' }] },
        },
      ],
    },
  },
  {
    code: 'mesh-linkerd',
    outcome: 'warning',
    message: /^Linkerd's proxy stands between the agent and the API server: annotate/,
    change: annotate({ ...IN_LINKERD, 'config.linkerd.io/proxy-enable-native-sidecar': 'true' }),
  },
  {
    code: 'mesh-linkerd',
    message: /^Linkerd's proxy stands between an agent and the others: add 8090/,
    change: annotate({ ...IN_LINKERD, 'config.linkerd.io/skip-outbound-ports': '400-500,8091-9000' }),
  },
  {
    code: 'mesh-istio',
    message: /excludeOutboundIPRanges/,
    change: ({ spec }) => (spec.template.metadata.labels['sidecar.istio.io/inject'] = 'true'),
  },
  {
    code: 'mesh-istio',
    message: /excludeInboundPorts: "8090"/,
    change: ({ all, workload }) => {
      workload.metadata.namespace = 'n'
      all.push({ kind: 'Namespace', metadata: { name: 'n', labels: { 'istio-injection': 'enabled' } } })
    },
  },
  {
    code: 'mesh-linkerd',
    message: /skip-outbound-ports: "443,8090"/,
    change: ({ spec }) => (spec.template.metadata.annotations = { 'linkerd.io/inject': 'enabled' }),
  },
  {
    code: 'rollout-strategy',
    message: /\(maxSurge 1, maxUnavailable 0\): set maxSurge to 0 and maxUnavailable to 1/,
    change: ({ spec }) => delete spec.strategy,
  },
  {
    code: 'rollout-strategy',
    outcome: 'warning',
    message: /strategy Recreate/,
    change: ({ spec }) => (spec.strategy = { type: 'Recreate' }),
  },
  {
    code: 'rollout-strategy',
    outcome: 'warning',
    message: /strategy Recreate .* maxSurge 1 and maxUnavailable 0$/,
    change: front(({ spec }) => (spec.strategy = { type: 'Recreate' })),
  },
  {
    code: 'rollout-strategy',
    outcome: 'warning',
    message: /end all pods at once, .*\(maxSurge 0, maxUnavailable 2\)/,
    change: front(({ spec }) => (spec.strategy = { rollingUpdate: { maxSurge: 0, maxUnavailable: 2 } })),
  },
  {
    code: 'rollout-strategy',
    kind: 'StatefulSet',
    message: /maxUnavailable to 2/,
    change: ({ spec }) => (spec.replicas = 3),
  },
  {
    code: 'pods-one-by-one',
    kind: 'StatefulSet',
    message: /of its 3 replicas the third is never made/,
    change: ({ spec }) => (spec.replicas = 3),
  },
  {
    code: 'disruption-budget',
    message: /^PodDisruptionBudget\/b wants 1 Ready pods, and with --traffic=readiness/,
    change: ({ all }) => void all.push(budget({ maxUnavailable: 1 })),
  },
  {
    code: 'disruption-budget',
    options: FRONT,
    message: /wants all 2 pods Ready/,
    change: ({ all }) => void all.push(budget({ minAvailable: '100%' })),
  },
  {
    code: 'autoscaler',
    message: /^HorizontalPodAutoscaler\/h changes how many/,
    change: ({ all }) =>
      void all.push({
        kind: 'HorizontalPodAutoscaler',
        metadata: { name: 'h' },
        spec: { scaleTargetRef: { kind: 'Deployment', name: 'app' } },
      }),
  },
  {
    code: 'lease-object',
    message: /^there is no Lease app-leader in this stream/,
    change: ({ all }) =>
      void all.splice(
        all.findIndex(({ kind }) => kind === 'Lease'),
        1,
      ),
  },
  {
    code: 'lease-object',
    message: /^there is no Lease app-leader, so/,
    cluster: { leases: new Map([['app-leader', false]]) },
  },
  {
    code: 'image-pull',
    message: /^Pod\/app-1 cannot pull the image x\/y:1 \(ImagePullBackOff\)/,
    cluster: { pods: pods(waiting('ImagePullBackOff')) },
  },
  {
    code: 'pod-starts',
    message: /^the container langflow of Pod\/app-1 does not start \(CreateContainerConfigError\)/,
    cluster: { pods: pods(waiting('CreateContainerConfigError')) },
  },
  {
    code: 'replica-answers',
    message: /^Pod\/app-1 does not answer: silent/,
    cluster: { replicas: replicas({}, null) },
  },
  {
    code: 'replica-problem',
    message: /^Pod\/app-0 says: no right/,
    cluster: { replicas: replicas({ problem: 'no right' }) },
  },
  {
    code: 'clock-replicas',
    message: /^the clocks of Pod\/app-1 and Pod\/app-0 are 5\.0 s apart/,
    cluster: { replicas: replicas({ now: '2026-01-01T00:00:05Z' }, { now: '2026-01-01T00:00:00Z' }) },
  },
  {
    code: 'secret-key-same',
    message: /^Pod\/app-0 and Pod\/app-2 have different LANGFLOW_SECRET_KEYs/,
    cluster: {
      replicas: replicas({ secretKeyDigest: 'a' }, { secretKeyDigest: null }, { secretKeyDigest: 'b' }),
    },
  },
  ...[
    'image-pull',
    'pod-starts',
    'replica-answers',
    'replica-problem',
    'clock-replicas',
    'secret-key-same',
  ].map((code) => ({
    code,
    outcome: 'unknown' as const,
    message: /^whether .* is not to be seen: it has no pods$/,
    cluster: { pods: [] },
  })),
  ...[null, 'a'].map((other) => ({
    code: 'secret-key-same',
    outcome: 'unknown' as const,
    message:
      other === null
        ? /^whether all replicas have one LANGFLOW_SECRET_KEY is not to be seen: Pod\/app-0 and Pod\/app-1 do not tell$/
        : /: Pod\/app-0 does not tell$/,
    cluster: { replicas: replicas({ secretKeyDigest: null }, { secretKeyDigest: other }) },
  })),
  {
    code: 'flows-same',
    outcome: 'unknown',
    message:
      /^whether all replicas load the same flows from files is not to be seen: Pod\/app-0 and Pod\/app-1 do/,
    change: ({ langflow }) => setEnv(langflow, 'LANGFLOW_LOAD_FLOWS_PATH', '/flows'),
    cluster: { replicas: replicas({ flowsDigest: null }, { flowsDigest: null }) },
  },
  {
    code: 'timings-same',
    message: /^Pod\/app-0 and Pod\/app-1 have different timings/,
    cluster: { replicas: replicas({ timings: { leaseDurationMs: 1 } }, { timings: { leaseDurationMs: 2 } }) },
  },
  {
    code: 'flows-same',
    message: /^Pod\/app-0 and Pod\/app-1 load different flows/,
    cluster: { replicas: replicas({ flowsDigest: 'a' }, { flowsDigest: 'b' }) },
  },
]

describe('a rule tells what breaks it', () => {
  const severities = new Map(CATALOGUE.map(({ code, severity }) => [code, severity]))
  for (const example of EXAMPLES) {
    const { code, message, options, kind, change, cluster, absent, outcome = severities.get(code) } = example
    test(`${code}: ${outcome}, ${message.source}`, () => {
      const all = structuredClone(healthy(options, kind)) as Loose[]
      change?.(partsOf(all))
      const facts = cluster === undefined ? null : { ...QUIET, ...cluster }
      const found = findingsIn(resultsOf(all as Fields[], facts, new Set(absent)))[code] ?? []
      assert.ok(
        found.some((one) => one.outcome === outcome && message.test(one.message)),
        `${code} in ${JSON.stringify(found)}`,
      )
    })
  }

  test('and each rule is among these', () => {
    const broken = new Set(EXAMPLES.map(({ code }) => code))
    assert.deepEqual(
      CATALOGUE.map(({ code }) => code).filter((code) => !broken.has(code)),
      [],
    )
  })

  test('by a code of its own', () => {
    const codes = CATALOGUE.map(({ code }) => code)
    assert.equal(new Set(codes).size, codes.length)
    for (const code of codes) assert.match(code, /^[a-z]+(-[a-z]+)*$/)
  })
})

describe('nothing is found where nothing is wrong', () => {
  for (const [options, kind] of [
    [{}, 'Deployment'],
    [FRONT, 'Deployment'],
    [{ ...FRONT, standby: 'warm' }, 'StatefulSet'],
  ] as const)
    test(`${kind}, ${JSON.stringify(options)}`, () => {
      const results = resultsOf(healthy(options, kind))
      assert.deepEqual(findingsIn(results), {})
      assert.deepEqual(findingsIn(resultsOf(healthy(options, kind), QUIET)), {})
    })

  test('Deployment with fronts, a policy and an Ingress', () => {
    const all = structuredClone(healthy()) as Loose[]
    const parts = partsOf(all)
    fronted(parts)
    assert.deepEqual(findingsIn(resultsOf(all)), {})
    const toService = { from: [{ podSelector: { matchLabels: { client: 'x' } } }], ports: [{ port: 'http' }] }
    all.push(
      policy({ ingress: [toService, between(8090, 8091)] }),
      ingress({ [NGINX]: '60' }),
      ingress({ [NGINX]: '1' }, 'other'),
      budget({ maxUnavailable: 1 }),
    )
    annotate({
      ...IN_LINKERD,
      'config.linkerd.io/skip-outbound-ports': '443,8000-9000',
      ...IN_ISTIO,
      [`${ISTIO}/excludeOutboundPorts`]: '443,8090,8091',
    })(parts)
    assert.deepEqual(findingsIn(resultsOf(all)), {})
    assert.deepEqual(findingsIn(resultsOf(all, QUIET)), {})
  })

  /** Each was taken for a fault once. */
  const FINE: readonly (Pick<Example, 'code' | 'change' | 'kind' | 'cluster'> & { readonly what: string })[] =
    [
      {
        code: 'template-text',
        what: "template text in a cluster is somebody's own",
        // biome-ignore lint/suspicious/noTemplateCurlyInString: as envsubst would replace it.
        change: ({ langflow }) => (langflow.image = 'langflow:${TAG}'),
        cluster: {},
      },
      {
        code: 'mesh-istio',
        what: "ranges that have the API server's address",
        change: annotate({ ...IN_ISTIO, ...PAST_API, [`${ISTIO}/excludeOutboundPorts`]: '8090' }),
        cluster: {},
      },
      {
        code: 'rollout-strategy',
        what: 'maxSurge 0 with a maxUnavailable that is rounded to 0 takes one pod',
        change: ({ spec }) =>
          (spec.strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: '25%' } }),
      },
      {
        code: 'rollout-strategy',
        what: 'the same of a StatefulSet',
        kind: 'StatefulSet',
        change: ({ spec }) =>
          (spec.updateStrategy = { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '25%' } }),
      },
      {
        code: 'network-egress',
        what: "the agent's port by its name, and MicroK8s' of the API server",
        change: ({ all }) =>
          void all.push(
            egress(
              { to: [{ podSelector: { matchLabels: { app: 'flows' } } }], ports: [{ port: 'agent' }] },
              { ports: [{ port: 16443 }] },
            ),
          ),
      },
      {
        code: 'network-ingress',
        what: 'a caller that runs',
        change: ({ all }) => void all.push(clientsOnly),
        cluster: { clientNamespaces: null, pods: [client({}, 'Running')] },
      },
      {
        code: 'flows-same',
        what: 'no digest of flows where none are loaded from files',
        cluster: { replicas: replicas({ flowsDigest: null }, { flowsDigest: null }) },
      },
      {
        code: 'volume-shared',
        what: 'a claim of each replica by a template',
        kind: 'StatefulSet',
        change: (parts) => {
          parts.spec.volumeClaimTemplates = [{ metadata: { name: 'data' } }]
          mount(parts, DATA)
        },
      },
    ]
  for (const { code, what, kind, change, cluster } of FINE)
    test(`${code}: ${what}`, () => {
      const all = structuredClone(healthy({}, kind)) as Loose[]
      change?.(partsOf(all))
      const facts = cluster === undefined ? null : { ...QUIET, ...cluster }
      assert.deepEqual(findingsIn(resultsOf(all, facts))[code] ?? [], [])
    })

  test('an agent that looks at itself looks at no other pod', () => {
    const codes = resultsOf(healthy(), { ...QUIET, isAgent: true }).map(({ code }) => code)
    assert.deepEqual(
      ['pod-starts', 'image-pull', 'replica-problem', 'lease-object'].map((code) => codes.includes(code)),
      [false, false, false, true],
    )
  })

  test('also with what those who know add to it', () => {
    const all = structuredClone(healthy(FRONT)) as Loose[]
    const parts = partsOf(all)
    const { spec, langflow } = parts
    spec.template.metadata.annotations = {
      ...IN_LINKERD,
      'config.linkerd.io/skip-outbound-ports': '443,8000-9000',
      ...IN_ISTIO,
      [`${ISTIO}/excludeOutboundPorts`]: '443,8090,8091',
    }
    mount(parts, DATA)
    setEnv(langflow, 'LANGFLOW_STORAGE_TYPE')
    setEnv(langflow, 'LANGFLOW_CONFIG_DIR', '/data/config')
    all.push(
      claim('ReadWriteMany'),
      budget({ maxUnavailable: 1 }),
      policy({
        podSelector: { matchExpressions: [{ key: 'app', operator: 'In', values: ['flows'] }] },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [{ ports: [{ port: 8090 }, { port: 8091 }] }],
        egress: [
          { to: [{ ipBlock: { cidr: '10.0.0.0/8' } }], ports: [{ port: 6443 }] },
          {
            to: [{ podSelector: { matchLabels: { app: 'flows' } } }],
            ports: [{ port: 8090, endPort: 8091 }],
          },
          { ports: [{ port: 53, protocol: 'UDP' }] },
        ],
      }),
      { ...policy({ policyTypes: ['Ingress'] }), spec: { podSelector: { matchLabels: { app: 'other' } } } },
    )
    assert.deepEqual(findingsIn(resultsOf(all)), {})
  })
})
