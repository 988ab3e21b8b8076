import { asFields, asList, asNumber, asText, dig, type Manifest } from '../../manifests/manifest.ts'
import { inOneNamespace, servicesOf } from '../../manifests/workload.ts'
import { matches } from '../installation.ts'
import type { Facts, Installed, Rule, Said } from '../rule.ts'

/** The usual ports of API servers, and of their Service. */
const API_PORTS = [443, 6443, 8443, 16443]

/** Whether requests reach only the leader, and agents can connect to each other and to the API server. */
export const NETWORK_RULES: readonly Rule<Installed>[] = [
  {
    code: 'service-leader',
    severity: 'error',
    about: 'Services lead only to the leader, or to the fronts',
    sees: 'Service',
    *find(one, { manifests, cluster }) {
      const front = frontPortOf(one)
      const services = servicesOf(one, manifests)
      if (front !== null) yield* toFronts(one, front, services, manifests, cluster)
      else
        for (const { name, value } of services)
          if (dig(value, 'spec', 'publishNotReadyAddresses') === true)
            yield `Service/${name} leads to pods that are not Ready, including standbys: remove publishNotReadyAddresses`
    },
  },
  {
    code: 'peers',
    severity: 'error',
    about: 'the replicas find each other',
    *find(one, facts) {
      const { peers } = one.agent.options
      if (peers !== null) for (const peer of [peers].flat()) yield* byPeer(peer, one, facts)
      else if (one.replicas > 1)
        yield {
          warning:
            'its agents do not ask each other (--peers is not set), so a leader cannot determine whether another replica is ready: create a headless Service with publishNotReadyAddresses, and set --peers to its name and port',
        }
    },
  },
  {
    code: 'network-egress',
    severity: 'error',
    about: "no NetworkPolicy blocks the agent's connections to the API server, DNS and other replicas",
    sees: 'NetworkPolicy',
    *find(one, { manifests }) {
      const policies = policiesFor(one, manifests, 'Egress')
      if (policies.length === 0) return
      const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', 'egress')))
      // The API server is not a pod, so no selector of pods or namespaces selects it.
      const toApi = rules.filter((rule) => {
        const to = asList(dig(rule, 'to'))
        return to.length === 0 || to.some((one) => 'ipBlock' in asFields(one))
      })
      if (!toApi.some((rule) => API_PORTS.some((port) => opens(rule, port, 'TCP', []))))
        yield `${blockers(policies)} connections from the agent to the API server: add an egress rule for the API server's port (443, 6443) with the ipBlock of its addresses`
      yield* separations(one, policies, rules, 'egress')
      if (!rules.some((rule) => opens(rule, 53, 'UDP', [])))
        yield `${blockers(policies)} DNS, which the pods require to find each other and the database: add an egress rule for port 53`
    },
  },
  {
    code: 'network-ingress',
    severity: 'error',
    about: 'no NetworkPolicy blocks connections between the replicas',
    sees: 'NetworkPolicy',
    *find(one, { manifests }) {
      const policies = policiesFor(one, manifests, 'Ingress')
      if (policies.length === 0) return
      const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', 'ingress')))
      yield* separations(one, policies, rules, 'ingress')
    },
  },
]

/** The front's port; `null` if there is no front. */
function frontPortOf({ agent }: Installed): number | null {
  const { traffic } = agent.options
  return traffic.mode === 'front' ? traffic.listen.port : null
}

/** The declared ports of agent and LangFlow. The name of a port refers to the whole pod. */
function portsOf({ agent, langflow }: Installed): unknown[] {
  return [...asList(agent.container.ports), ...asList(langflow.ports)]
}

/** @param past the Services that lead to LangFlow's own port */
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
        warning: `Service/${name} is headless, so clients that use port ${one.port} of its addresses bypass the fronts: change these clients to port ${port}`,
      }
    else
      yield `Service/${name} leads to LangFlow's own port ${one.port} and bypasses the fronts, so standbys refuse requests and no request is held: set its targetPort to ${port}`
  }
  const led = servicesOf({ ...one, langflow: { ports: portsOf(one) }, port }, manifests)
  for (const { name, value } of led)
    if (dig(value, 'spec', 'publishNotReadyAddresses') === true)
      yield `Service/${name} leads to pods that are not Ready, whose fronts cannot forward requests: remove publishNotReadyAddresses`
  if (led.length === 0 && past.length === 0 && !cluster?.hidden.has('Service'))
    yield {
      warning: `no Service ${cluster === null ? 'in this stream ' : ''}leads to its fronts: set the targetPort of the Service that clients use to ${port}`,
    }
}

/** The Service behind one of the addresses in --peers. */
function* byPeer(
  { host, port }: { readonly host: string; readonly port: number },
  { agent, manifest, template }: Installed,
  { manifests, cluster }: Facts,
): Generator<Said> {
  const service = manifests.find(
    (one) => one.kind === 'Service' && one.name === host.split('.', 1)[0] && inOneNamespace(one, manifest),
  )
  if (service === undefined) {
    if (host.includes('.') || host.includes(':')) return
    if (cluster === null || cluster.hidden.has('Service'))
      yield { unknown: `Service/${host} (--peers) is not among the known objects` }
    else
      yield `Service/${host}, by which the replicas find each other (--peers), does not exist: apply a headless Service of that name`
    return
  }
  const spec = asFields(service.value.spec)
  const { listen } = agent.options
  const title = `Service/${service.name}, by which the replicas find each other (--peers),`
  if (spec.clusterIP !== 'None' || spec.publishNotReadyAddresses !== true)
    yield `${title} hides replicas that are not Ready: set clusterIP: None and publishNotReadyAddresses: true`
  if (!matches({ matchLabels: spec.selector }, asFields(dig(template, 'metadata', 'labels'))))
    yield `${title} does not select their pods: set its selector to the labels of the pods`
  if (port !== listen.port)
    yield `its agents listen on port ${listen.port}, but ask each other on port ${port} (--peers): use the same port`
}

/** The policies that limit one direction of these pods' traffic. */
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

/** `NetworkPolicy/a and NetworkPolicy/b block` */
function blockers(policies: readonly Manifest[]): string {
  const names = policies.map(({ name }) => `NetworkPolicy/${name}`).join(' and ')
  return `${names} ${policies.length > 1 ? 'block' : 'blocks'}`
}

/** The ports of other replicas that no rule of the policies opens. */
function* separations(
  one: Installed,
  policies: readonly Manifest[],
  rules: readonly unknown[],
  direction: 'ingress' | 'egress',
): Generator<string> {
  const { peers, listen } = one.agent.options
  const front = frontPortOf(one)
  const field = direction === 'ingress' ? 'from' : 'to'
  const needed = [
    ...(peers === null ? [] : [{ who: 'agents', port: listen.port }]),
    ...(front === null ? [] : [{ who: 'fronts', port: front }]),
  ]
  for (const { who, port } of needed)
    if (!rules.some((rule) => opens(rule, port, 'TCP', portsOf(one)) && isForPods(dig(rule, field), one)))
      yield `${blockers(policies)} connections between the ${who}: add an ${direction} rule ${field} these pods on port ${port}`
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

/** Whether the peers of a policy's rule include these pods. */
function isForPods(value: unknown, { template }: Installed): boolean {
  const peers = asList(value)
  const labels = asFields(dig(template, 'metadata', 'labels'))
  return (
    peers.length === 0 ||
    peers
      .map(asFields)
      .some((peer) => 'ipBlock' in peer || 'namespaceSelector' in peer || matches(peer.podSelector, labels))
  )
}
