import { BlockList, isIP } from 'node:net'
import { formatDuration, parseDuration } from '../../../config/values.ts'
import {
  asFields,
  asList,
  asNumber,
  asText,
  dig,
  type Fields,
  type Manifest,
  titleOf,
} from '../../manifests/manifest.ts'
import { inOneNamespace, servicesOf } from '../../manifests/workload.ts'
import { matches, podsOf } from '../label-selector.ts'
import type { AgentRule, Facts, Installed, Said } from '../rule.ts'

/** Whoever has it may call LangFlow, by the NetworkPolicy of deploy/base. */
const CLIENT_LABEL = 'langflow-leader/client'
/** Where API servers listen, behind their Service or not. */
const API_PORTS = [443, 6443, 8443, 16443]
/** Was in alpha and beta under other names. */
const LINKERD_NATIVE = /^config(\.alpha|\.beta)?\.linkerd\.io\/proxy-enable-native-sidecar$/

/** Who reaches whom. */
export const NETWORK_RULES = {
  'service-leader': {
    severity: 'error',
    about: 'Services lead to the leader alone, or to the fronts',
    sees: ['Service'],
    *find(one, { manifests, cluster }) {
      const { traffic } = one.agent.options
      const services = servicesOf(one, manifests)
      if (traffic.mode === 'front') {
        yield* toFronts(one, traffic.listen.port, services, manifests, cluster)
        return
      }
      for (const { name, value } of services)
        if (dig(value, 'spec', 'publishNotReadyAddresses') === true)
          yield `Service/${name} leads to pods that are not Ready, so also to standbys: remove publishNotReadyAddresses`
    },
  },
  'route-timeout': {
    severity: 'warning',
    about: 'what stands before the fronts waits as long as they do',
    sees: ['Ingress', 'HTTPRoute'],
    applies: ({ agent }) => agent.options.traffic.mode === 'front',
    *find(one, { manifests }) {
      const { traffic, holdTimeoutMs } = one.agent.options
      if (traffic.mode !== 'front') return
      const services = servicesOfFront(one, traffic.listen.port, manifests).map(({ name }) => name)
      for (const route of manifests) {
        if (!inOneNamespace(route, one.manifest)) continue
        for (const { setting, ms } of timeoutsOf(route, services))
          if (ms <= holdTimeoutMs)
            yield `${titleOf(route)} gives up after ${formatDuration(ms)} (${setting}), while a front still holds the request (--hold-timeout ${formatDuration(holdTimeoutMs)}): make that longer, or --hold-timeout shorter`
      }
    },
  },
  peers: {
    severity: 'error',
    about: 'the replicas find each other',
    *find(one, { manifests, cluster }) {
      const { agent, replicas } = one
      const { peers, listen } = agent.options
      if (peers === null) {
        if (replicas > 1)
          yield {
            warning:
              'its agents do not ask each other (--peers), so that no leader knows whether another replica could take over: make a headless Service with publishNotReadyAddresses, and name it',
          }
        return
      }
      for (const { host, port } of [peers].flat()) {
        const service = find(one, manifests, 'Service', host.split('.', 1)[0]!)
        if (service === undefined) {
          if (host.includes('.') || host.includes(':')) continue
          if (cluster === null || cluster.hidden.has('Service'))
            yield {
              unknown: `whether the replicas find each other is not to be seen: there is no Service/${host} here (--peers)`,
            }
          else yield `there is no Service/${host}, by which the replicas find each other (--peers): apply it`
          continue
        }
        const spec = asFields(service.value.spec)
        const labels = asFields(dig(one.template, 'metadata', 'labels'))
        if (spec.clusterIP !== 'None' || spec.publishNotReadyAddresses !== true)
          yield `Service/${service.name}, by which the replicas find each other (--peers), hides those that are not Ready: give it clusterIP: None and publishNotReadyAddresses: true`
        if (!matches({ matchLabels: spec.selector }, labels))
          yield `Service/${service.name}, by which the replicas find each other (--peers), does not select their pods: give it their labels as its selector`
        if (port !== listen.port)
          yield `its agents listen on port ${listen.port} and ask each other on port ${port} (--peers): make them the same`
      }
    },
  },
  'network-egress': {
    severity: 'error',
    about: 'no NetworkPolicy keeps the agent from the API server, and the replicas from each other',
    sees: ['NetworkPolicy'],
    *find(one, { manifests }) {
      const policies = policiesFor(one, manifests, 'Egress')
      if (policies.length === 0) return
      const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', 'egress')))
      const names = policies.map(({ name }) => `NetworkPolicy/${name}`).join(' and ')
      const { peers, listen } = one.agent.options
      const ports = portsOf(one)
      const front = frontPortOf(one)
      // The API server is no pod: no selector of pods or namespaces can name it.
      const toApi = rules.filter(
        (rule) =>
          asList(dig(rule, 'to')).length === 0 ||
          asList(dig(rule, 'to')).some((to) => 'ipBlock' in asFields(to)),
      )
      if (!toApi.some((rule) => API_PORTS.some((port) => opens(rule, port, 'TCP', []))))
        yield `${names} ${verb(policies)} the agent from the API server: add an egress rule for its port (443, 6443) with the ipBlock of its addresses`
      if (
        peers !== null &&
        !rules.some((rule) => opens(rule, listen.port, 'TCP', ports) && reachesPods(rule, 'to', one))
      )
        yield `${names} ${verb(policies)} the agents from each other: add an egress rule to these pods on port ${listen.port}`
      if (
        front !== null &&
        !rules.some((rule) => opens(rule, front, 'TCP', ports) && reachesPods(rule, 'to', one))
      )
        yield `${names} ${verb(policies)} the fronts from each other: add an egress rule to these pods on port ${front}`
      if (!rules.some((rule) => opens(rule, 53, 'UDP', [])))
        yield `${names} ${verb(policies)} the pods from DNS, by which they find each other and the database: add an egress rule for port 53`
    },
  },
  'network-ingress': {
    severity: 'error',
    about: 'no NetworkPolicy keeps callers from LangFlow, and the replicas from each other',
    sees: ['NetworkPolicy'],
    *find(one, { manifests, cluster }) {
      const policies = policiesFor(one, manifests, 'Ingress')
      if (policies.length === 0) return
      const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', 'ingress')))
      const names = policies.map(({ name }) => `NetworkPolicy/${name}`).join(' and ')
      const { peers, listen } = one.agent.options
      const ports = portsOf(one)
      const front = frontPortOf(one)
      if (
        peers !== null &&
        !rules.some((rule) => opens(rule, listen.port, 'TCP', ports) && reachesPods(rule, 'from', one))
      )
        yield `${names} ${verb(policies)} the agents from each other: add an ingress rule from these pods on port ${listen.port}`
      if (
        front !== null &&
        !rules.some((rule) => opens(rule, front, 'TCP', ports) && reachesPods(rule, 'from', one))
      )
        yield `${names} ${verb(policies)} the fronts from each other: add an ingress rule from these pods on port ${front}`
      const entry = front ?? one.port
      const toLangflow = rules.filter((rule) => opens(rule, entry, 'TCP', ports) && !isForReplicas(rule, one))
      if (toLangflow.length === 0)
        yield `${names} ${verb(policies)} everybody from LangFlow: add an ingress rule for port ${entry}`
      else if (toLangflow.every(asksForLabel)) yield* labelled(names, one, manifests, cluster)
    },
  },
  'mesh-istio': {
    severity: 'error',
    about: "Istio's proxy lets the agent reach the API server at any time",
    *find(one, facts) {
      const settings = podMetadata(one)
      const namespace = namespaceMetadata(one, facts)
      const asked = settings['sidecar.istio.io/inject']
      const revisions = [settings['istio.io/rev'], namespace['istio.io/rev']]
      const isIn =
        asked === undefined
          ? namespace['istio-injection'] === 'enabled' ||
            revisions.some((revision) => asText(revision) !== '')
          : String(asked) === 'true'
      if (!isIn && asked === undefined) yield* meshUnseen('Istio', facts)
      if (!isIn) return
      const prefix = 'traffic.sidecar.istio.io'
      const { cluster } = facts
      const { port } = one.agent.options.listen
      const outside = list(settings[`${prefix}/excludeOutboundPorts`])
      const isNative =
        String(settings['sidecar.istio.io/nativeSidecar']) === 'true' ||
        hasNative('istio-proxy', one, cluster)
      const ranges = list(settings[`${prefix}/excludeOutboundIPRanges`])
      const passes = outside.includes('443') || contains(ranges, cluster?.apiAddress ?? null)
      const advice = `annotate the pods with ${prefix}/excludeOutboundIPRanges: <the API server's cluster IP>/32, or ${prefix}/excludeOutboundPorts: "443,${port}"`
      if (passes === null)
        yield {
          unknown: `whether ${prefix}/excludeOutboundIPRanges (${ranges.join(', ')}) has the API server's cluster IP is not to be seen: compare it with kubectl get service kubernetes -n default`,
        }
      else if (!passes)
        yield isNative
          ? { warning: `${between('Istio')}: ${advice}` }
          : `${between('Istio')}: it starts after the agent and ends before it has released the Lease${holdsInVain(one, settings)}; ${advice}`
      if (!outside.includes(String(port)))
        yield `Istio's proxy stands between an agent and the others: add ${port} to ${prefix}/excludeOutboundPorts`
      const front = frontPortOf(one)
      if (front !== null && !outside.includes(String(front)))
        yield `Istio's proxy stands between a front and the others, and answers for one that is gone: add ${front} to ${prefix}/excludeOutboundPorts, and where mutual TLS is STRICT give these pods a PeerAuthentication with portLevelMtls ${front}: PERMISSIVE, which takes both what clients in the mesh send and what fronts do`
      if (!list(settings[`${prefix}/excludeInboundPorts`]).includes(String(port)))
        yield `Istio's proxy stands before the agent: annotate the pods with ${prefix}/excludeInboundPorts: "${port}"`
    },
  },
  'mesh-linkerd': {
    severity: 'error',
    about: "Linkerd's proxy lets the agent reach the API server at any time",
    *find(one, facts) {
      const settings = { ...namespaceMetadata(one, facts), ...podMetadata(one) }
      const inject = settings['linkerd.io/inject']
      if (inject === undefined) yield* meshUnseen('Linkerd', facts)
      if (inject !== 'enabled' && inject !== 'ingress') return
      const prefix = 'config.linkerd.io'
      const { port } = one.agent.options.listen
      const isNative =
        Object.entries(settings).some(
          ([name, value]) => LINKERD_NATIVE.test(name) && String(value) === 'true',
        ) || hasNative('linkerd-proxy', one, facts.cluster)
      const outbound = list(settings[`${prefix}/skip-outbound-ports`])
      const advice = `annotate the pods with ${prefix}/skip-outbound-ports: "443,${port}"`
      if (!includesPort(outbound, 443))
        yield isNative
          ? { warning: `${between('Linkerd')}: ${advice}` }
          : `${between('Linkerd')}, and starts after the agent: ${advice}`
      if (!includesPort(outbound, port))
        yield `Linkerd's proxy stands between an agent and the others: add ${port} to ${prefix}/skip-outbound-ports`
      const front = frontPortOf(one)
      if (front !== null && !includesPort(outbound, front))
        yield `Linkerd's proxy stands between a front and the others, and answers for one that is gone: add ${front} to ${prefix}/skip-outbound-ports`
      if (!includesPort(list(settings[`${prefix}/skip-inbound-ports`]), port))
        yield `Linkerd's proxy stands before the agent: annotate the pods with ${prefix}/skip-inbound-ports: "${port}"`
    },
  },
} as const satisfies Record<string, AgentRule>

/** Where the front listens; `null`: there is none. */
function frontPortOf({ agent }: Installed): number | null {
  const { traffic } = agent.options
  return traffic.mode === 'front' ? traffic.listen.port : null
}

/** All that the containers of agent and LangFlow declare: names of ports are the pod's. */
function portsOf({ agent, langflow }: Installed): unknown[] {
  return [...asList(agent.container.ports), ...asList(langflow.ports)]
}

function servicesOfFront(one: Installed, port: number, manifests: readonly Manifest[]): Manifest[] {
  return servicesOf({ ...one, langflow: { ports: portsOf(one) }, port }, manifests)
}

/** @param past those that lead to LangFlow's own port */
function* toFronts(
  one: Installed,
  port: number,
  past: readonly Manifest[],
  manifests: readonly Manifest[],
  cluster: Facts['cluster'],
): Generator<Said> {
  for (const { name, value } of past) {
    if (dig(value, 'spec', 'clusterIP') === 'None')
      yield {
        warning: `Service/${name} is headless, so that whoever uses port ${one.port} of its addresses reaches LangFlow past the fronts: let them use port ${port}`,
      }
    else
      yield `Service/${name} leads to LangFlow's own port ${one.port}, past the fronts, where standbys refuse requests and nothing is held: let its targetPort be ${port}`
  }
  const led = servicesOfFront(one, port, manifests)
  for (const { name, value } of led)
    if (dig(value, 'spec', 'publishNotReadyAddresses') === true)
      yield `Service/${name} leads to pods that are not Ready, whose fronts can only hold: remove publishNotReadyAddresses`
  if (led.length === 0 && past.length === 0 && !cluster?.hidden.has('Service'))
    yield {
      warning: `no Service ${cluster === null ? 'in this stream ' : ''}leads to its fronts: let the targetPort of the one that its clients use be ${port}`,
    }
}

/** Of ingress-nginx, HAProxy's controllers and the Gateway API. */
const TIMEOUTS = [
  'nginx.ingress.kubernetes.io/proxy-read-timeout',
  'haproxy.org/timeout-server',
  'haproxy-ingress.github.io/timeout-server',
] as const

/** How long a route to one of these Services waits for an answer, where it says so. */
function* timeoutsOf(
  { kind, value }: Manifest,
  services: readonly string[],
): Generator<{ setting: string; ms: number }> {
  const spec = asFields(value.spec)
  const isOurs = (name: unknown) => services.includes(asText(name))
  if (kind === 'Ingress') {
    const backends = [
      spec.defaultBackend,
      ...asList(spec.rules).flatMap((rule) =>
        asList(dig(rule, 'http', 'paths')).map((path) => dig(path, 'backend')),
      ),
    ]
    if (!backends.some((backend) => isOurs(dig(backend, 'service', 'name')))) return
    for (const setting of TIMEOUTS) {
      const ms = durationOf(dig(value, 'metadata', 'annotations', setting))
      if (ms !== null) yield { setting, ms }
    }
  }
  if (kind !== 'HTTPRoute') return
  for (const rule of asList(spec.rules).filter((one) =>
    asList(dig(one, 'backendRefs')).some((backend) => isOurs(dig(backend, 'name'))),
  ))
    for (const name of ['request', 'backendRequest']) {
      const ms = durationOf(dig(rule, 'timeouts', name))
      if (ms !== null) yield { setting: `timeouts.${name}`, ms }
    }
}

/** In milliseconds; a number alone is of seconds. `null`: it says none, or does not limit. */
function durationOf(value: unknown): number | null {
  const text = asText(value)
  try {
    return parseDuration(/^\d+$/.test(text) ? `${text}s` : text, 1)
  } catch {
    return null
  }
}

/** Whoever comes from outside comes by an ingress controller, whose namespace needs the label. */
function* labelled(names: string, one: Installed, manifests: readonly Manifest[], cluster: Facts['cluster']) {
  const labelled = (manifest: Manifest) => dig(manifest.value, 'metadata', 'labels', CLIENT_LABEL) === 'true'
  const advice = `kubectl label namespace <the ingress controller's> ${CLIENT_LABEL}=true`
  const routes = manifests.filter(
    (manifest) => ['Ingress', 'HTTPRoute'].includes(manifest.kind) && inOneNamespace(manifest, one.manifest),
  )
  if (cluster !== null) {
    const { clientNamespaces, pods } = cluster
    const who = `${names} lets only those with the label ${CLIENT_LABEL} call LangFlow`
    if (clientNamespaces?.length || pods?.some(isClient)) return
    if (clientNamespaces === null || pods === null)
      yield { unknown: `${who}, and whether anybody has it is not to be seen (${advice})` }
    else yield { warning: `${who}, and nobody has it: ${advice}` }
    return
  }
  if (routes.length > 0 && !manifests.some((manifest) => manifest.kind === 'Namespace' && labelled(manifest)))
    yield {
      unknown: `whether ${routes.map(({ kind, name }) => `${kind}/${name}`).join(' and ')} may call LangFlow is not to be seen: ${names} asks for the label ${CLIENT_LABEL} (${advice})`,
    }
}

/** Not those that call only now and then: a drill, and what has ended. */
function isClient(pod: Fields): boolean {
  const labels = asFields(dig(pod, 'metadata', 'labels'))
  const phase = asText(dig(pod, 'status', 'phase'))
  return (
    labels[CLIENT_LABEL] === 'true' &&
    labels['app.kubernetes.io/name'] !== 'langflow-leader-drill' &&
    phase !== 'Succeeded' &&
    phase !== 'Failed'
  )
}

function verb(policies: readonly Manifest[]): string {
  return policies.length > 1 ? 'keep' : 'keeps'
}

function find(
  { manifest }: Installed,
  manifests: readonly Manifest[],
  kind: string,
  name: string,
): Manifest | undefined {
  return manifests.find((one) => one.kind === kind && one.name === name && inOneNamespace(one, manifest))
}

/** The policies that limit what these pods may do in one direction. */
function policiesFor(
  one: Installed,
  manifests: readonly Manifest[],
  direction: 'Ingress' | 'Egress',
): Manifest[] {
  const labels = asFields(dig(one.template, 'metadata', 'labels'))
  return manifests.filter((manifest) => {
    const spec = asFields(manifest.value.spec)
    const types = asList(spec.policyTypes)
    const limits = types.length > 0 ? types.includes(direction) : direction === 'Ingress' || 'egress' in spec
    return (
      manifest.kind === 'NetworkPolicy' &&
      inOneNamespace(manifest, one.manifest) &&
      limits &&
      matches(spec.podSelector, labels)
    )
  })
}

/** Whether a rule is for this port, which may have a name among `ports`. */
function opens(rule: unknown, port: number, protocol: 'TCP' | 'UDP', ports: readonly unknown[]): boolean {
  const listed = asList(dig(rule, 'ports'))
  return (
    listed.length === 0 ||
    listed.some((one) => {
      if ((asText(dig(one, 'protocol')) || 'TCP') !== protocol) return false
      const from = dig(one, 'port')
      if (from === undefined) return true
      if (typeof from === 'string')
        return ports.some((own) => dig(own, 'name') === from && dig(own, 'containerPort') === port)
      return port === from || (port >= Number(from) && port <= (asNumber(dig(one, 'endPort')) ?? 0))
    })
  )
}

function reachesPods(rule: unknown, direction: 'from' | 'to', { template }: Installed): boolean {
  const peers = asList(dig(rule, direction))
  const labels = asFields(dig(template, 'metadata', 'labels'))
  return (
    peers.length === 0 ||
    peers.some(
      (peer) =>
        'ipBlock' in asFields(peer) ||
        'namespaceSelector' in asFields(peer) ||
        matches(dig(peer, 'podSelector'), labels),
    )
  )
}

/** Whether nobody else comes by it. */
function isForReplicas(rule: unknown, { template }: Installed): boolean {
  const peers = asList(dig(rule, 'from')).map(asFields)
  const labels = asFields(dig(template, 'metadata', 'labels'))
  return (
    peers.length > 0 &&
    peers.every(
      ({ podSelector, namespaceSelector, ipBlock }) =>
        (namespaceSelector ?? ipBlock) === undefined &&
        Object.keys(asFields(podSelector)).length > 0 &&
        matches(podSelector, labels),
    )
  )
}

function asksForLabel(rule: unknown): boolean {
  const from = asList(dig(rule, 'from'))
  return (
    from.length > 0 &&
    from.every((one) =>
      ['podSelector', 'namespaceSelector'].some(
        (selector) => dig(one, selector, 'matchLabels', CLIENT_LABEL) !== undefined,
      ),
    )
  )
}

function podMetadata({ template }: Installed): Fields {
  return {
    ...asFields(dig(template, 'metadata', 'labels')),
    ...asFields(dig(template, 'metadata', 'annotations')),
  }
}

function namespaceOf({ manifest }: Installed, manifests: readonly Manifest[]): Manifest | undefined {
  const namespaces = manifests.filter(({ kind }) => kind === 'Namespace')
  return namespaces.find(({ name }) => name === manifest.namespace)
}

/** Labels and annotations, by both of which meshes are told what to do. */
function namespaceMetadata(one: Installed, { manifests }: Facts): Readonly<Fields> {
  const { value } = namespaceOf(one, manifests) ?? {}
  return { ...asFields(dig(value, 'metadata', 'labels')), ...asFields(dig(value, 'metadata', 'annotations')) }
}

/** Nothing of the pods' own says whether they are in a mesh, and their namespace may not be read. */
function* meshUnseen(mesh: string, { cluster }: Facts) {
  const why = cluster?.hidden.get('Namespace')
  if (why !== undefined)
    yield { unknown: `whether the namespace puts ${mesh}'s proxy into the pods is not to be seen: ${why}` }
}

/** Whether the mesh's proxy is an init container that stays: it starts before the agent and ends after it. */
function hasNative(name: string, one: Installed, cluster: Facts['cluster']): boolean {
  return [one.pod, ...podsOf(one, cluster?.pods).map((pod) => pod.spec)].some((pod) =>
    asList(dig(pod, 'initContainers')).some(
      (container) => dig(container, 'name') === name && dig(container, 'restartPolicy') === 'Always',
    ),
  )
}

function between(mesh: string): string {
  return `${mesh}'s proxy stands between the agent and the API server`
}

/** Those who set it take it for the answer. */
function holdsInVain({ agent }: Installed, settings: Fields): string {
  const config = settings['proxy.istio.io/config']
  const holds = /holdApplicationUntilProxyStarts"?:\s*true/.test(
    typeof config === 'string' ? config : JSON.stringify(config ?? ''),
  )
  return holds && agent.place === 'sidecar'
    ? ' (holdApplicationUntilProxyStarts does not help: the agent is an init container, and those start before)'
    : ''
}

/** Whether CIDRs have an address; `null`: that is not known. */
function contains(ranges: readonly string[], address: string | null): boolean | null {
  if (ranges.length === 0) return false
  if (ranges.some((range) => range === '*' || range.endsWith('/0'))) return true
  if (address === null || isIP(address) === 0) return null
  const family = familyOf(address)
  const known = new BlockList()
  for (const range of ranges) {
    const [net = '', bits] = range.split('/')
    const most = isIP(net) === 6 ? 128 : 32
    const length = bits === undefined ? most : Number(/^\d+$/.exec(bits)?.[0] ?? Number.NaN)
    if (isIP(net) !== 0 && length <= most) known.addSubnet(net, length, familyOf(net))
  }
  return known.check(address, family)
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4'
}

/** Whether ports and ranges of ports, such as `443` and `8000-9000`, have this one. */
function includesPort(ports: readonly string[], port: number): boolean {
  return ports.some((one) => {
    const [from, to = from] = one.split('-').map(Number)
    return from !== undefined && to !== undefined && from <= port && port <= to
  })
}

function list(value: unknown): string[] {
  return asText(value)
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}
