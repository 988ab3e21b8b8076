import {
  asFields,
  asList,
  asNumber,
  asText,
  dig,
  type Fields,
  type Manifest,
} from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { variableOf } from '../container-environment.ts'
import { DATABASE_URL, portOfDatabase } from '../database-identity.ts'
import { labelsOf, matches } from '../installation.ts'
import type { Installed, Rule, Said } from '../rule.ts'
import { frontPortOf, portsOf } from './network-rules.ts'

/** The usual ports of API servers, and of their Service. */
const API_PORTS = [443, 6443, 8443, 16443]

/** Whether NetworkPolicies let agents connect to each other and to the API server. */
export const POLICY_RULES: readonly Rule<Installed>[] = [
  {
    code: 'network-egress',
    severity: 'error',
    about: 'no NetworkPolicy blocks connections to the API server, DNS, the database and other replicas',
    breaks:
      'The agent cannot renew the Lease, so no replica serves. Without the other replicas, a leader does not find a successor, and fronts cannot forward requests.',
    fix: 'Add egress rules for the API server (an ipBlock, port 443 or 6443), for DNS (port 53), and for these pods on the ports of agent and front.',
    sees: 'NetworkPolicy',
    *find(one, { manifests }) {
      const policies = policiesFor(one, manifests, 'Egress')
      if (policies.length === 0) return
      const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', 'egress')))
      yield* toApiServer(policies, rules)
      yield* separations(one, { policies, rules, direction: 'egress' }, manifests)
      if (!rules.some((rule) => opens(rule, 53, 'UDP', [])))
        yield `${blockers(policies)} DNS, which the pods require to find each other and the database: add an egress rule for port 53`
      const port = portOfDatabase(variableOf(one.env, DATABASE_URL).text ?? '')
      if (
        port !== null &&
        !rules.some((rule) => opens(rule, port, 'TCP', []) && !isOnlyReplicas(dig(rule, 'to'), one))
      )
        yield `${blockers(policies)} the database on port ${port}: add an egress rule for that port`
    },
  },
  {
    code: 'network-ingress',
    severity: 'error',
    about: 'no NetworkPolicy blocks clients, or connections between the replicas',
    breaks:
      'No client reaches LangFlow. Without the other replicas, a leader does not find a successor, and fronts cannot forward requests.',
    fix: "Add ingress rules from clients to LangFlow's port or the front's, and from these pods to the ports of agent and front.",
    sees: 'NetworkPolicy',
    *find(one, { manifests, cluster }) {
      const policies = policiesFor(one, manifests, 'Ingress')
      if (policies.length === 0) return
      const rules = policies.flatMap(({ value }) => asList(dig(value, 'spec', 'ingress')))
      yield* separations(one, { policies, rules, direction: 'ingress' }, manifests)
      yield* withoutClients(one, { policies, rules, direction: 'ingress' }, cluster === null)
    },
  },
]

/** The policies that limit one direction of these pods' traffic. */
function policiesFor(
  one: Installed,
  manifests: readonly Manifest[],
  direction: 'Ingress' | 'Egress',
): Manifest[] {
  return manifests.filter((manifest) => {
    const spec = asFields(manifest.value.spec)
    const types = asList(spec.policyTypes)
    const limits = types.length > 0 ? types.includes(direction) : direction === 'Ingress' || 'egress' in spec
    return (
      manifest.kind === 'NetworkPolicy' &&
      inOneNamespace(manifest, one.manifest) &&
      limits &&
      matches(spec.podSelector, labelsOf(one))
    )
  })
}

/** `NetworkPolicy/a and NetworkPolicy/b block` */
function blockers(policies: readonly Manifest[]): string {
  const names = policies.map(({ name }) => `NetworkPolicy/${name}`).join(' and ')
  return `${names} ${policies.length > 1 ? 'block' : 'blocks'}`
}

/** The API server is not a pod, so no selector of pods or namespaces selects it. */
function* toApiServer(policies: readonly Manifest[], rules: readonly unknown[]): Generator<Said> {
  const paths = rules
    .filter((rule) => API_PORTS.some((port) => opens(rule, port, 'TCP', [])))
    .flatMap((rule) => {
      const to = asList(dig(rule, 'to'))
      return to.length === 0 ? [true] : to.filter((one) => 'ipBlock' in asFields(one)).map(isEverywhere)
    })
  if (paths.length === 0)
    yield `${blockers(policies)} connections from the agent to the API server: add an egress rule for the API server's port (443, 6443) with the ipBlock of its addresses`
  else if (!paths.includes(true))
    yield { unknown: `an egress rule names addresses, and check cannot compare them with the API server's` }
}

interface Limits {
  readonly policies: readonly Manifest[]
  readonly rules: readonly unknown[]
  readonly direction: 'ingress' | 'egress'
}

/** The ports of other replicas that no rule of the policies opens. */
function* separations(
  one: Installed,
  { policies, rules, direction }: Limits,
  manifests: readonly Manifest[],
): Generator<Said> {
  const { peers, listen } = one.agent.options
  const front = frontPortOf(one)
  const field = direction === 'ingress' ? 'from' : 'to'
  const needed = [
    ...(peers === null ? [] : [{ who: 'agents', port: listen.port }]),
    ...(front === null ? [] : [{ who: 'fronts', port: front }]),
  ]
  for (const { who, port } of needed) {
    const paths = rules
      .filter((rule) => opens(rule, port, 'TCP', portsOf(one)))
      .map((rule) => isForPods(asList(dig(rule, field)), one, manifests))
    if (paths.includes('yes')) continue
    if (paths.includes('unknown'))
      yield {
        unknown: `whether ${policies.map(({ name }) => `NetworkPolicy/${name}`).join(' and ')} let the ${who} connect to each other depends on the labels of their namespace, or on their addresses`,
      }
    else
      yield `${blockers(policies)} connections between the ${who}: add an ${direction} rule ${field} these pods on port ${port}`
  }
}

/** No rule lets clients reach the port of the Service. In a stream, another policy for them may be elsewhere. */
function* withoutClients(one: Installed, { policies, rules }: Limits, isStream: boolean): Generator<Said> {
  const port = frontPortOf(one) ?? one.port
  if (rules.some((rule) => opens(rule, port, 'TCP', portsOf(one)) && !isOnlyReplicas(dig(rule, 'from'), one)))
    return
  const problem = `${blockers(policies)} every client, because no ingress rule lets one reach port ${port}`
  yield isStream
    ? { unknown: `${problem}, unless a policy outside of this stream does` }
    : `${problem}: add a rule for the pods and namespaces of your clients`
}

/** Whether a rule's peers are only these pods. */
function isOnlyReplicas(value: unknown, one: Installed): boolean {
  const peers = asList(value).map(asFields)
  const isReplica = (peer: Readonly<Fields>) =>
    !('namespaceSelector' in peer) &&
    Object.keys(asFields(peer.podSelector)).length > 0 &&
    matches(peer.podSelector, labelsOf(one))
  return peers.length > 0 && peers.every(isReplica)
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

type Answer = 'yes' | 'no' | 'unknown'

/** Whether the peers of a policy's rule include these pods. */
function isForPods(peers: readonly unknown[], one: Installed, manifests: readonly Manifest[]): Answer {
  if (peers.length === 0) return 'yes'
  const answers = peers.map(asFields).map((peer): Answer => {
    if ('ipBlock' in peer) return isEverywhere(peer) ? 'yes' : 'unknown'
    if ('podSelector' in peer && !matches(peer.podSelector, labelsOf(one))) return 'no'
    return 'namespaceSelector' in peer ? isOwnNamespace(peer.namespaceSelector, one, manifests) : 'yes'
  })
  return answers.find((answer) => answer === 'yes') ?? answers.find((answer) => answer === 'unknown') ?? 'no'
}

function isEverywhere(peer: unknown): boolean {
  const { cidr, except } = asFields(dig(peer, 'ipBlock'))
  return /\/0$/.test(asText(cidr)) && asList(except).length === 0
}

/** The label that Kubernetes gives each namespace. */
const NAME_LABEL = 'kubernetes.io/metadata.name'
/** Selectors of other namespaces: those of a monitoring system, or of clients (our own label langflow-leader/client). */
const OF_OTHERS = /monitor|prometheus|metrics|observability|langflow-leader\/client/i

/** Whether a selector selects the namespace of these pods. */
function isOwnNamespace(selector: unknown, { manifest }: Installed, manifests: readonly Manifest[]): Answer {
  const known = manifests.find(({ kind, name }) => kind === 'Namespace' && name === manifest.namespace)
  const labels: Fields = { ...asFields(dig(known?.value, 'metadata', 'labels')) }
  if (manifest.namespace !== null) labels[NAME_LABEL] = manifest.namespace
  if (matches(selector, labels)) return 'yes'
  const keys = [
    ...Object.keys(asFields(dig(selector, 'matchLabels'))),
    ...asList(dig(selector, 'matchExpressions')).map((one) => asText(dig(one, 'key'))),
  ]
  const isName = keys.every((key) => key === NAME_LABEL) && manifest.namespace !== null
  return known !== undefined || isName || OF_OTHERS.test(JSON.stringify(selector)) ? 'no' : 'unknown'
}
