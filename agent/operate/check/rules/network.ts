import {
  asFields,
  asList,
  asNumber,
  asText,
  dig,
  type Fields,
  type Manifest,
} from '../../../manifests/manifest.ts'
import { inOneNamespace, LEADER, ROLE_LABEL, servicesOf } from '../../../manifests/workload.ts'
import type { AgentRule, Facts, Installed } from '../rule.ts'
import { matches } from '../selector.ts'

/** Whoever has it may call LangFlow, by the NetworkPolicy of deploy/base. */
const CLIENT_LABEL = 'langflow-leader/client'
/** Where API servers listen, behind their Service or not. */
const API_PORTS = [443, 6443, 8443]

/** Who reaches whom. */
export const NETWORK_RULES = {
  'service-leader': {
    severity: 'error',
    about: 'Services lead to the leader alone',
    *find(one, { manifests, cluster }) {
      const { traffic } = one.agent.options
      const services = servicesOf(one, manifests)
      for (const { name, value } of services) {
        const unready = dig(value, 'spec', 'publishNotReadyAddresses') === true
        const selectsLeader = dig(value, 'spec', 'selector', ROLE_LABEL) === LEADER
        if (traffic.mode === 'readiness' && unready)
          yield `Service/${name} leads to pods that are not Ready, so also to standbys: remove publishNotReadyAddresses`
        if (traffic.mode === 'label' && !selectsLeader)
          yield `Service/${name} leads to standbys as well: add ${ROLE_LABEL}: ${LEADER} to its selector`
        if (traffic.mode === 'slice')
          yield `Service/${name} selects pods by itself, so that it leads to standbys as well: remove its selector, and the endpoints that the cluster made of it`
      }
      if (traffic.mode === 'label' && services.length === 0 && !cluster?.hidden.has('Service'))
        yield {
          warning: `no Service ${cluster === null ? 'in this stream ' : ''}leads to it: add ${ROLE_LABEL}: ${LEADER} to the selector of the one that its clients use`,
        }
      if (traffic.mode !== 'slice') return
      const slice = find(one, manifests, 'EndpointSlice', traffic.endpointSlice)
      const service = asText(dig(slice?.value, 'metadata', 'labels', 'kubernetes.io/service-name'))
      if (slice === undefined && cluster?.hidden.has('EndpointSlice')) return
      if (slice === undefined)
        yield `there is no EndpointSlice ${traffic.endpointSlice}, which --traffic=slice writes the leader's address into: apply it, as deploy/components/traffic-slice has it`
      else if (service === '')
        yield `EndpointSlice/${slice.name} belongs to no Service: give it the label kubernetes.io/service-name`
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
    about: 'no NetworkPolicy keeps the agent from the API server and the other agents',
    *find(one, { manifests }) {
      const policies = policiesFor(one, manifests, 'Egress')
      if (policies.length === 0) return
      const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', 'egress')))
      const names = policies.map(({ name }) => `NetworkPolicy/${name}`).join(' and ')
      const { peers, listen } = one.agent.options
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
        !rules.some((rule) => opens(rule, listen.port, 'TCP', []) && reachesPods(rule, 'to', one))
      )
        yield `${names} ${verb(policies)} the agents from each other: add an egress rule to these pods on port ${listen.port}`
      if (!rules.some((rule) => opens(rule, 53, 'UDP', [])))
        yield `${names} ${verb(policies)} the pods from DNS, by which they find each other and the database: add an egress rule for port 53`
    },
  },
  'network-ingress': {
    severity: 'error',
    about: 'no NetworkPolicy keeps callers from LangFlow and the agents from each other',
    *find(one, { manifests, cluster }) {
      const policies = policiesFor(one, manifests, 'Ingress')
      if (policies.length === 0) return
      const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', 'ingress')))
      const names = policies.map(({ name }) => `NetworkPolicy/${name}`).join(' and ')
      const { agent, langflow, port } = one
      const { peers, listen } = agent.options
      const ports = asList(agent.container.ports)
      if (
        peers !== null &&
        !rules.some((rule) => opens(rule, listen.port, 'TCP', ports) && reachesPods(rule, 'from', one))
      )
        yield `${names} ${verb(policies)} the agents from each other: add an ingress rule from these pods on port ${listen.port}`
      const own = asList(langflow.ports)
      const toLangflow = rules.filter((rule) => opens(rule, port, 'TCP', own))
      if (toLangflow.length === 0)
        yield `${names} ${verb(policies)} everybody from LangFlow: add an ingress rule for port ${port}`
      else if (toLangflow.every(asksForLabel)) yield* labelled(names, one, manifests, cluster)
    },
  },
  'mesh-istio': {
    severity: 'error',
    about: "Istio's proxy lets the agent reach the API server at any time",
    *find(one, facts) {
      const settings = podMetadata(one)
      const namespace = namespaceLabels(one, facts)
      const asked = settings['sidecar.istio.io/inject']
      const isIn =
        asked === undefined
          ? namespace['istio-injection'] === 'enabled' || typeof namespace['istio.io/rev'] === 'string'
          : String(asked) === 'true'
      if (!isIn) return
      const prefix = 'traffic.sidecar.istio.io'
      const { port } = one.agent.options.listen
      const outside = list(settings[`${prefix}/excludeOutboundPorts`])
      if (!outside.includes('443') && list(settings[`${prefix}/excludeOutboundIPRanges`]).length === 0)
        yield `Istio's proxy stands between the agent and the API server: it starts after the agent and ends before it has released the Lease; annotate the pods with ${prefix}/excludeOutboundIPRanges: <the API server's cluster IP>/32, or ${prefix}/excludeOutboundPorts: "443,${port}"`
      if (!list(settings[`${prefix}/excludeInboundPorts`]).includes(String(port)))
        yield `Istio's proxy stands between the agents: annotate the pods with ${prefix}/excludeInboundPorts: "${port}" and add ${port} to ${prefix}/excludeOutboundPorts`
    },
  },
  'mesh-linkerd': {
    severity: 'error',
    about: "Linkerd's proxy lets the agent reach the API server at any time",
    *find(one, facts) {
      const settings = podMetadata(one)
      const inject = settings['linkerd.io/inject'] ?? namespaceAnnotations(one, facts)['linkerd.io/inject']
      if (inject !== 'enabled' && inject !== 'ingress') return
      const prefix = 'config.linkerd.io'
      const port = String(one.agent.options.listen.port)
      const outbound = list(settings[`${prefix}/skip-outbound-ports`])
      if (!outbound.includes('443') || !outbound.includes(port))
        yield `Linkerd's proxy stands between the agent, the API server and the other agents, and starts after the agent: annotate the pods with ${prefix}/skip-outbound-ports: "443,${port}"`
      if (!list(settings[`${prefix}/skip-inbound-ports`]).includes(port))
        yield `Linkerd's proxy stands before the agent: annotate the pods with ${prefix}/skip-inbound-ports: "${port}"`
    },
  },
} as const satisfies Record<string, AgentRule>

/** Whoever comes from outside comes by an ingress controller, whose namespace needs the label. */
function* labelled(names: string, one: Installed, manifests: readonly Manifest[], cluster: Facts['cluster']) {
  const labelled = (manifest: Manifest) => dig(manifest.value, 'metadata', 'labels', CLIENT_LABEL) === 'true'
  const advice = `kubectl label namespace <the ingress controller's> ${CLIENT_LABEL}=true`
  const routes = manifests.filter(
    (manifest) => ['Ingress', 'HTTPRoute'].includes(manifest.kind) && inOneNamespace(manifest, one.manifest),
  )
  if (cluster !== null) {
    const pods = cluster.pods?.some((pod) => dig(pod, 'metadata', 'labels', CLIENT_LABEL) === 'true')
    if (cluster.clientNamespaces?.length === 0 && pods === false)
      yield {
        warning: `${names} lets only those with the label ${CLIENT_LABEL} call LangFlow, and nobody has it: ${advice}`,
      }
    return
  }
  if (routes.length > 0 && !manifests.some((manifest) => manifest.kind === 'Namespace' && labelled(manifest)))
    yield {
      unknown: `whether ${routes.map(({ kind, name }) => `${kind}/${name}`).join(' and ')} may call LangFlow is not to be seen: ${names} asks for the label ${CLIENT_LABEL} (${advice})`,
    }
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

function namespaceLabels(one: Installed, { manifests }: Facts): Readonly<Fields> {
  return asFields(dig(namespaceOf(one, manifests)?.value, 'metadata', 'labels'))
}

function namespaceAnnotations(one: Installed, { manifests }: Facts): Readonly<Fields> {
  return asFields(dig(namespaceOf(one, manifests)?.value, 'metadata', 'annotations'))
}

function list(value: unknown): string[] {
  return asText(value)
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}
