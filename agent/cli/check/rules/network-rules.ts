import {
  asFields,
  asList,
  asNumber,
  asText,
  dig,
  fieldsNamed,
  type Manifest,
  titleOf,
} from '../../manifests/manifest.ts'
import { inOneNamespace, labelsOf, matches, selects, servicesOf } from '../../manifests/workload.ts'
import { containersOf, objectsOf } from '../facts.ts'
import { type Facts, type Installed, type Problem, type Rule, warning } from '../rule.ts'

/** The usual ports of API servers, and of their Service. */
const API_PORTS = [443, 6443, 8443, 16443]

/** Whether requests reach only the leader, and the replicas find each other. */
export const NETWORK_RULES: readonly Rule<Installed>[] = [
  {
    code: 'service-leader',
    about: 'Services lead to the leader, or to the fronts. If not, clients reach a standby.',
    fix: "Remove publishNotReadyAddresses, and set targetPort to LangFlow's port, or to the front's with --traffic=front. Correct the route.",
    reads: 'Service',
    *find(one, facts) {
      const { manifests } = facts
      const { traffic, listen } = one.options
      const services = objectsOf('Service', one, facts)
      const own = services.filter(({ value }) => selects(dig(value, 'spec', 'selector'), labelsOf(one)))
      const declared = containersOf(one.pod).flatMap((own) =>
        asList(own.ports).map((port) => dig(port, 'name')),
      )
      for (const of of services.filter(({ name }) => name === one.manifest.name))
        if (!own.includes(of) && dig(of.value, 'spec', 'selector') !== undefined)
          yield { message: 'it does not select the pods', of }
      for (const of of own) {
        const { clusterIP, ports } = asFields(of.value.spec)
        const targets = asList(ports).map((port) => dig(port, 'targetPort'))
        const absent = targets.find((target) => typeof target === 'string' && !declared.includes(target))
        if (absent !== undefined && clusterIP !== 'None')
          yield { message: `no container has a port named ${absent}`, of }
      }
      const front = traffic.mode === 'front' ? traffic.listen.port : null
      const ports = portsOf(one)
      const direct = servicesOf(one, { port: one.port, ports: asList(one.langflow.ports) }, manifests)
      if (front !== null)
        for (const of of direct) {
          const severity = dig(of.value, 'spec', 'clusterIP') === 'None' ? 'warning' : 'error'
          yield { message: `it leads to LangFlow's own port ${one.port}, past the fronts`, severity, of }
        }
      const served = front === null ? direct : servicesOf(one, { port: front, ports }, manifests)
      const toAgents = servicesOf(one, { port: listen.port, ports }, manifests)
      for (const of of served) {
        // Clients that have another Service do not use a second port of the one by which the agents find each other.
        if (toAgents.includes(of) && served.length > 1) continue
        if (dig(of.value, 'spec', 'publishNotReadyAddresses') === true)
          yield { message: 'it leads to pods that are not Ready', of }
      }
      yield* routeFaults(own, one, facts)
    },
  },
  {
    code: 'peers',
    about: 'The replicas find each other. If not, a leader names no successor.',
    fix: "Set --peers to a headless Service with publishNotReadyAddresses, the labels of the pods, and the agents' port.",
    reads: 'Service',
    *find(one, facts) {
      const { peers, listen } = one.options
      if (peers === null && !one.isSingle) yield warning('--peers is not set')
      for (const { host, port } of [peers ?? []].flat()) {
        if (port !== listen.port)
          yield `its agents listen on port ${listen.port}, but ask each other on port ${port} (--peers)`
        yield* peerFaults(host, one, facts)
      }
    },
  },
  {
    code: 'network-policy',
    about: 'A NetworkPolicy of these pods admits replicas and clients. If not, they are cut off.',
    fix: 'Add a rule for the port: ingress for clients and these pods, egress for the API server (443, 6443), DNS (53) and these pods.',
    reads: 'NetworkPolicy',
    *find(one, facts) {
      const { traffic, listen, peers } = one.options
      const served = traffic.mode === 'front' ? traffic.listen.port : one.port
      const among = [...(peers === null ? [] : [listen.port]), ...(traffic.mode === 'front' ? [served] : [])]
      const ingress = openedBy('Ingress', one, facts)
      for (const port of new Set([...among, served])) {
        const isAmong = among.includes(port)
        const admitted = ingress.peersOf(port).map((from) => !isAmong || admitsReplicas(from, one))
        const whom = isAmong ? 'replicas to ' : ''
        if (admitted.includes(true)) continue
        if (admitted.includes('unknown'))
          yield { unknown: 'the labels of the namespace are not in the input' }
        else yield { message: `no ingress rule admits ${whom}port ${port}`, of: ingress.of }
      }
      for (const of of servicesOf(one, { port: served, ports: portsOf(one) }, facts.manifests)) {
        const isOutside = /^(LoadBalancer|NodePort)$/.test(asText(dig(of.value, 'spec', 'type')))
        const isForAll = (from: readonly unknown[]) =>
          from.length === 0 || from.some((peer) => dig(peer, 'ipBlock'))
        if (isOutside && !ingress.peersOf(served).some(isForAll))
          yield warning(`${titleOf(ingress.of)} has no ipBlock for its clients outside the cluster`, of)
      }
      const egress = openedBy('Egress', one, facts)
      for (const ports of [API_PORTS, [53], ...among.map((port) => [port])])
        if (ports.every((port) => egress.peersOf(port).length === 0))
          yield { message: `no egress rule admits port ${ports.slice(0, 2).join(' or ')}`, of: egress.of }
    },
  },
]

/** The declared ports of agent and LangFlow. The name of a port refers to the whole pod. */
function portsOf({ agent, langflow }: Installed): unknown[] {
  return [...asList(agent.container.ports), ...asList(langflow.ports)]
}

/** The Service behind one of the addresses in --peers. */
function* peerFaults(host: string, one: Installed, facts: Facts): Generator<Problem> {
  // Each pod of a StatefulSet has a name of its own below that of the Service.
  const names = host.split('.')
  const services = objectsOf('Service', one, facts)
  const [of] = names.slice(0, 2).flatMap((own) => services.find(({ name }) => name === own) ?? [])
  if (of === undefined) {
    if (!facts.isCluster) yield { unknown: `Service/${names[0]} is not in the input` }
    else if (!facts.hidden.has('Service')) yield `Service/${names[0]} (--peers) does not exist`
    return
  }
  const namespace = names[names.indexOf(of.name) + 1] ?? null
  if (!inOneNamespace({ namespace }, one.manifest))
    yield `its agents ask those of the namespace ${namespace} (--peers)`
  const { clusterIP, publishNotReadyAddresses, selector } = asFields(of.value.spec)
  if (clusterIP !== 'None' || publishNotReadyAddresses !== true)
    yield { message: 'agents find each other by it (--peers), but it hides replicas that are not Ready', of }
  if (!selects(selector, labelsOf(one)))
    yield { message: 'agents find each other by it (--peers), but it does not select their pods', of }
}

/** The Ingresses and HTTPRoutes to a port, or to the Service of LangFlow's name, that does not exist. */
function* routeFaults(own: readonly Manifest[], one: Installed, facts: Facts): Generator<Problem> {
  const services = objectsOf('Service', one, facts)
  for (const of of [...objectsOf('Ingress', one, facts), ...objectsOf('HTTPRoute', one, facts)]) {
    const backends = backendsIn(of, one)
    const leadsHere = backends.some(({ name }) => own.some((service) => service.name === name))
    for (const { name, port } of backends) {
      const service = services.find((other) => other.name === name)
      const ports = asList(dig(service?.value, 'spec', 'ports'))
      if (service === undefined && name === one.manifest.name && own.length > 0)
        yield { message: `it leads to Service/${name}, which does not exist`, of }
      // Another application's Service is often in another file.
      else if (service === undefined && !leadsHere) yield { unknown: `Service/${name} is not in the input` }
      else if (
        own.includes(service!) &&
        !ports.some((has) => [dig(has, 'port'), dig(has, 'name')].includes(port))
      )
        yield { message: `it leads to port ${port} of Service/${name}, which has no such port`, of }
    }
  }
}

/** The Services of LangFlow's namespace to which an Ingress or an HTTPRoute leads, with the numbers or names of their ports. */
function backendsIn({ value }: Manifest, { manifest }: Installed) {
  const found = fieldsNamed(value.spec, /^(service|backendRefs)$/).map(asFields)
  return found.flatMap(({ kind = 'Service', name, namespace, port }) => {
    const isOurs = kind === 'Service' && inOneNamespace({ namespace: asText(namespace) || null }, manifest)
    return isOurs ? { name, port: dig(port, 'number') ?? dig(port, 'name') ?? port } : []
  })
}

/** What the policies for the pods open. `peersOf`: the peers of each rule for a port, of which none means all. */
function openedBy(direction: 'Ingress' | 'Egress', one: Installed, facts: Facts) {
  const policies = objectsOf('NetworkPolicy', one, facts).filter(({ value }) => {
    const spec = asFields(value.spec)
    const types = asList(spec.policyTypes)
    const isLimited =
      types.length > 0 ? types.includes(direction) : direction === 'Ingress' || 'egress' in spec
    return isLimited && matches(spec.podSelector, labelsOf(one))
  })
  const limited = policies.flatMap(({ value }) => asList(dig(value, 'spec', direction.toLowerCase())))
  // Without a policy, all ports are open.
  const rules = policies.length === 0 ? [{}] : limited
  const peersOf = (port: number) =>
    rules.filter((rule) => opens(rule, port, portsOf(one))).map((rule) => asList(dig(rule, 'from')))
  return { of: policies[0]!, peersOf }
}

/** Whether the peers of a rule admit the pods. `unknown`: it depends on labels of the namespace. */
function admitsReplicas(from: readonly unknown[], one: Installed): boolean | 'unknown' {
  const likely = from.filter((peer) => {
    const selector = dig(peer, 'podSelector')
    const isOpen = asList(dig(selector, 'matchExpressions')).some((by) => dig(by, 'operator') !== 'In')
    return selector === undefined || isOpen || matches(selector, labelsOf(one))
  })
  const ofNamespace = { 'kubernetes.io/metadata.name': one.manifest.namespace }
  const isSure = likely.some((peer) => matches(dig(peer, 'namespaceSelector'), ofNamespace))
  return from.length === 0 || isSure || (likely.length > 0 && 'unknown')
}

/** Whether a rule of a policy is for this port, which may have a name among `ports`. */
function opens(rule: unknown, port: number, ports: readonly unknown[]): boolean {
  const listed = asList(dig(rule, 'ports'))
  return (
    listed.length === 0 ||
    listed.some((one) => {
      const from = dig(one, 'port')
      if (typeof from === 'string')
        return ports.some((own) => dig(own, 'name') === from && dig(own, 'containerPort') === port)
      const isUdp = asText(dig(one, 'protocol')) === 'UDP'
      const to = asNumber(dig(one, 'endPort')) ?? from
      return isUdp === (port === 53) && (from === undefined || (port >= Number(from) && port <= Number(to)))
    })
  )
}
