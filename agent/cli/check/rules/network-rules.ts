import { asFields, asList, asNumber, asText, dig } from '../../manifests/manifest.ts'
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
    fix: "Remove publishNotReadyAddresses, and set targetPort to LangFlow's port, or to the front's with --traffic=front.",
    reads: 'Service',
    *find(one, facts) {
      const { manifests } = facts
      const { traffic, listen } = one.options
      const declared = containersOf(one.pod).flatMap((own) =>
        asList(own.ports).map((port) => dig(port, 'name')),
      )
      for (const of of objectsOf('Service', one, facts)) {
        const { selector, clusterIP, ports } = asFields(of.value.spec)
        const targets = asList(ports).map((port) => dig(port, 'targetPort'))
        const absent = targets.find((target) => typeof target === 'string' && !declared.includes(target))
        if (absent !== undefined && clusterIP !== 'None' && selects(selector, labelsOf(one)))
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
    about:
      'A NetworkPolicy of these pods admits their ports. If not, replicas are cut off. Its from and to are not judged.',
    fix: 'Add a rule for the port: ingress for clients and these pods, egress for the API server (443, 6443), DNS (53) and these pods.',
    reads: 'NetworkPolicy',
    *find(one, facts) {
      const { traffic, listen, peers } = one.options
      const served = traffic.mode === 'front' ? traffic.listen.port : one.port
      const among = [...(peers === null ? [] : [listen.port]), ...(traffic.mode === 'front' ? [served] : [])]
      const ingress = [...new Set([...among, served])].map((port) => [port])
      const egress = [API_PORTS, [53], ...among.map((port) => [port])]
      yield* shutPorts('Ingress', ingress, one, facts)
      yield* shutPorts('Egress', egress, one, facts)
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

/** The needs of which no port is open in any policy for the pods. Each need is a list of alternative ports. */
function* shutPorts(
  direction: 'Ingress' | 'Egress',
  needs: readonly (readonly number[])[],
  one: Installed,
  facts: Facts,
): Generator<Problem> {
  const policies = objectsOf('NetworkPolicy', one, facts).filter(({ value }) => {
    const spec = asFields(value.spec)
    const types = asList(spec.policyTypes)
    const isLimited =
      types.length > 0 ? types.includes(direction) : direction === 'Ingress' || 'egress' in spec
    return isLimited && matches(spec.podSelector, labelsOf(one))
  })
  if (policies.length === 0) return
  const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', direction.toLowerCase())))
  for (const ports of needs)
    if (!rules.some((rule) => ports.some((port) => opens(rule, port, portsOf(one)))))
      yield {
        message: `no ${direction.toLowerCase()} rule admits port ${ports.slice(0, 2).join(' or ')}`,
        of: policies[0]!,
      }
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
