import { asFields, asList, asNumber, asText, dig, type Manifest } from '../../manifests/manifest.ts'
import { inOneNamespace, servicesOf } from '../../manifests/workload.ts'
import { matches } from '../installation.ts'
import type { Facts, Installed, Rule, Said } from '../rule.ts'

/** Where API servers listen, behind their Service or not. */
const API_PORTS = [443, 6443, 8443, 16443]

/** Whether requests reach the leader alone, and the agents reach each other and the API server. */
export const NETWORK_RULES: readonly Rule<Installed>[] = [
  {
    code: 'service-leader',
    severity: 'error',
    about: 'Services lead to the leader alone, or to the fronts',
    sees: 'Service',
    *find(one, { manifests, cluster }) {
      const front = frontPortOf(one)
      const services = servicesOf(one, manifests)
      if (front !== null) yield* toFronts(one, front, services, manifests, cluster)
      else
        for (const { name, value } of services)
          if (dig(value, 'spec', 'publishNotReadyAddresses') === true)
            yield `Service/${name} leads to pods that are not Ready, so also to standbys: remove publishNotReadyAddresses`
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
            'its agents do not ask each other (--peers), so that no leader knows whether another replica could take over: make a headless Service with publishNotReadyAddresses, and name it',
        }
    },
  },
  {
    code: 'network-egress',
    severity: 'error',
    about: 'no NetworkPolicy keeps the agent from the API server, or the replicas from each other',
    sees: 'NetworkPolicy',
    *find(one, { manifests }) {
      const policies = policiesFor(one, manifests, 'Egress')
      if (policies.length === 0) return
      const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', 'egress')))
      // The API server is no pod: no selector of pods or namespaces can name it.
      const toApi = rules.filter((rule) => {
        const to = asList(dig(rule, 'to'))
        return to.length === 0 || to.some((one) => 'ipBlock' in asFields(one))
      })
      if (!toApi.some((rule) => API_PORTS.some((port) => opens(rule, port, 'TCP', []))))
        yield `${keep(policies)} the agent from the API server: add an egress rule for its port (443, 6443) with the ipBlock of its addresses`
      yield* separations(one, policies, rules, 'egress')
      if (!rules.some((rule) => opens(rule, 53, 'UDP', [])))
        yield `${keep(policies)} the pods from DNS, by which they find each other and the database: add an egress rule for port 53`
    },
  },
  {
    code: 'network-ingress',
    severity: 'error',
    about: 'no NetworkPolicy keeps the replicas from each other',
    sees: 'NetworkPolicy',
    *find(one, { manifests }) {
      const policies = policiesFor(one, manifests, 'Ingress')
      if (policies.length === 0) return
      const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', 'ingress')))
      yield* separations(one, policies, rules, 'ingress')
    },
  },
]

/** Where the front listens; `null`: there is none. */
function frontPortOf({ agent }: Installed): number | null {
  const { traffic } = agent.options
  return traffic.mode === 'front' ? traffic.listen.port : null
}

/** All that the containers of agent and LangFlow declare: names of ports are the pod's. */
function portsOf({ agent, langflow }: Installed): unknown[] {
  return [...asList(agent.container.ports), ...asList(langflow.ports)]
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
        warning: `Service/${name} is headless, so that clients that use port ${one.port} of its addresses reach LangFlow past the fronts: let them use port ${port}`,
      }
    else
      yield `Service/${name} leads to LangFlow's own port ${one.port}, past the fronts, where standbys refuse requests and nothing is held: let its targetPort be ${port}`
  }
  const led = servicesOf({ ...one, langflow: { ports: portsOf(one) }, port }, manifests)
  for (const { name, value } of led)
    if (dig(value, 'spec', 'publishNotReadyAddresses') === true)
      yield `Service/${name} leads to pods that are not Ready, whose fronts can only hold: remove publishNotReadyAddresses`
  if (led.length === 0 && past.length === 0 && !cluster?.hidden.has('Service'))
    yield {
      warning: `no Service ${cluster === null ? 'in this stream ' : ''}leads to its fronts: let the targetPort of the one that its clients use be ${port}`,
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
      yield { unknown: `there is no Service/${host} here (--peers)` }
    else yield `there is no Service/${host}, by which the replicas find each other (--peers): apply it`
    return
  }
  const spec = asFields(service.value.spec)
  const { listen } = agent.options
  const title = `Service/${service.name}, by which the replicas find each other (--peers),`
  if (spec.clusterIP !== 'None' || spec.publishNotReadyAddresses !== true)
    yield `${title} hides those that are not Ready: give it clusterIP: None and publishNotReadyAddresses: true`
  if (!matches({ matchLabels: spec.selector }, asFields(dig(template, 'metadata', 'labels'))))
    yield `${title} does not select their pods: give it their labels as its selector`
  if (port !== listen.port)
    yield `its agents listen on port ${listen.port} and ask each other on port ${port} (--peers): make them the same`
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

/** `NetworkPolicy/a and NetworkPolicy/b keep` */
function keep(policies: readonly Manifest[]): string {
  const names = policies.map(({ name }) => `NetworkPolicy/${name}`).join(' and ')
  return `${names} ${policies.length > 1 ? 'keep' : 'keeps'}`
}

/** Ports of other replicas that no rule of the policies opens. */
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
      yield `${keep(policies)} the ${who} from each other: add an ${direction} rule ${field} these pods on port ${port}`
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
