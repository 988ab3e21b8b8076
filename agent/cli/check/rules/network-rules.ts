import { asFields, asList, dig, type Manifest, titleOf } from '../../manifests/manifest.ts'
import { inOneNamespace, servicesOf } from '../../manifests/workload.ts'
import { containersOf, labelsOf, matches } from '../installation.ts'
import type { Facts, Installed, Rule, Said } from '../rule.ts'

/** Whether requests reach only the leader, and the replicas find each other. */
export const NETWORK_RULES: readonly Rule<Installed>[] = [
  {
    code: 'service-leader',
    severity: 'error',
    about: 'Services lead only to the leader, or to the fronts',
    breaks:
      'Clients reach a standby, which refuses their requests, or they bypass the fronts, so no request is held.',
    fix: "Remove publishNotReadyAddresses, and set the targetPort to LangFlow's port, or to the front's with --traffic=front.",
    sees: 'Service',
    *find(one, { manifests, cluster }) {
      const front = frontPortOf(one)
      const past = servicesOf(one, manifests)
      const led =
        front === null
          ? past
          : servicesOf({ ...one, langflow: { ports: portsOf(one) }, port: front }, manifests)
      if (front !== null) yield* pastFronts(one, front, past)
      const { listen } = one.agent.options
      const toAgents = servicesOf({ ...one, langflow: { ports: portsOf(one) }, port: listen.port }, manifests)
      const open = led.filter(({ value }) => dig(value, 'spec', 'publishNotReadyAddresses') === true)
      for (const service of open) {
        const { name } = service
        const isPeers = [one.agent.options.peers ?? []].flat().some(({ host }) => host.split('.')[0] === name)
        // Clients that have another Service do not use a second port of this one.
        if (isPeers && toAgents.includes(service) && led.length > open.length) continue
        yield isPeers && !toAgents.includes(service)
          ? `Service/${name}, by which the replicas find each other (--peers), leads to port ${front ?? one.port}, and not to the agents: set its targetPort to ${listen.port}`
          : `Service/${name} leads to pods that are not Ready, which cannot serve or forward requests: remove publishNotReadyAddresses, or let clients use another Service`
      }
      for (const service of manifests.filter((other) => selects(other, one)))
        yield* [...toNothing(service, one, front), ...fromOutside(service, manifests)]
      for (const service of new Set([...led, ...past])) yield* toOthers(service, one, manifests)
      if (led.length === 0 && past.length === 0 && !cluster?.hidden.has('Service'))
        yield* unreached(one, front, { manifests, isStream: cluster === null })
    },
  },
  {
    code: 'peers',
    severity: 'error',
    about: 'the replicas find each other',
    breaks:
      'A leader cannot determine whether another replica is ready, so it names no successor, and restarts a failed LangFlow in place.',
    fix: "Create a headless Service with publishNotReadyAddresses and the labels of the pods, and set --peers to its name and the agents' port.",
    *find(one, facts) {
      const { peers } = one.agent.options
      if (peers !== null) for (const peer of [peers].flat()) yield* byPeer(peer, one, facts)
      else if (one.scale.most > 1)
        yield {
          warning:
            'its agents do not ask each other (--peers is not set), so a leader cannot determine whether another replica is ready: create a headless Service with publishNotReadyAddresses, and set --peers to its name and port',
        }
    },
  },
]

/** The front's port; `null` if there is no front. */
export function frontPortOf({ agent }: Installed): number | null {
  const { traffic } = agent.options
  return traffic.mode === 'front' ? traffic.listen.port : null
}

/** The declared ports of agent and LangFlow. The name of a port refers to the whole pod. */
export function portsOf({ agent, langflow }: Installed): unknown[] {
  return [...asList(agent.container.ports), ...asList(langflow.ports)]
}

/** @param past the Services that lead to LangFlow's own port */
function* pastFronts(one: Installed, port: number, past: readonly Manifest[]): Generator<Said> {
  for (const { name, value } of past)
    if (dig(value, 'spec', 'clusterIP') === 'None')
      yield {
        warning: `Service/${name} is headless, so clients that use port ${one.port} of its addresses bypass the fronts: change these clients to port ${port}`,
      }
    else
      yield `Service/${name} leads to LangFlow's own port ${one.port} and bypasses the fronts, so standbys refuse requests and no request is held: set its targetPort to ${port}`
}

/** No Service leads to the pods. In a stream, it may be elsewhere. */
function* unreached(
  one: Installed,
  front: number | null,
  { manifests, isStream }: { manifests: readonly Manifest[]; isStream: boolean },
): Generator<Said> {
  const [what, port] = front === null ? ['LangFlow', one.port] : ['its fronts', front]
  const idle = manifests.find(
    (other) =>
      other.kind === 'Service' && inOneNamespace(other, one.manifest) && selectsNothing(other, manifests),
  )
  if (idle !== undefined)
    yield `Service/${idle.name} selects no pods, and no other Service leads to ${what}: set its selector to the labels of the pods`
  else if (isStream && front === null) yield { unknown: 'this stream has no Service that leads to LangFlow' }
  else
    yield {
      warning: `no Service ${isStream ? 'in this stream ' : ''}leads to ${what}: set the selector of the Service that clients use to the labels of the pods, and its targetPort to ${port}`,
    }
}

/** Whether no workload of the manifests has pods that the Service selects. */
function selectsNothing({ value }: Manifest, manifests: readonly Manifest[]): boolean {
  const selector = asFields(dig(value, 'spec', 'selector'))
  const templates = manifests.map((one) => asFields(dig(one.value, 'spec', 'template', 'metadata', 'labels')))
  return (
    Object.keys(selector).length > 0 &&
    !templates.some((labels) => matches({ matchLabels: selector }, labels))
  )
}

function selects(service: Manifest, one: Pick<Installed, 'manifest' | 'template'>): boolean {
  const selector = asFields(dig(service.value, 'spec', 'selector'))
  return (
    service.kind === 'Service' &&
    inOneNamespace(service, one.manifest) &&
    Object.keys(selector).length > 0 &&
    matches({ matchLabels: selector }, labelsOf(one))
  )
}

/** Ports of a Service for these pods on which nothing listens. */
function* toNothing({ name, value }: Manifest, one: Installed, front: number | null): Generator<Said> {
  const declared = containersOf(one.pod).flatMap(({ ports }) => asList(ports))
  const names = declared.map((port) => dig(port, 'name'))
  const numbers = [
    one.port,
    front,
    one.agent.options.listen.port,
    ...declared.map((port) => dig(port, 'containerPort')),
  ]
  for (const port of asList(dig(value, 'spec', 'ports'))) {
    const target = dig(port, 'targetPort') ?? dig(port, 'port')
    if (typeof target === 'string' && !names.includes(target))
      yield `Service/${name} leads to a port named ${target}, which no container declares, so it has no endpoints: declare the port, or set the targetPort to a number`
    if (typeof target === 'number' && !numbers.includes(target))
      yield {
        warning: `Service/${name} leads to port ${target}, which no container declares: set its targetPort to ${front ?? one.port}`,
      }
  }
}

/** Routes of clients to a Service that includes pods that are not Ready, such as the one for --peers. */
function* fromOutside(service: Manifest, manifests: readonly Manifest[]): Generator<Said> {
  if (dig(service.value, 'spec', 'publishNotReadyAddresses') !== true) return
  for (const route of manifests) {
    if (!/^(Ingress|HTTPRoute|IngressRoute|VirtualService)$/.test(route.kind)) continue
    if (!inOneNamespace(route, service)) continue
    const text = JSON.stringify(route.value.spec ?? {})
    if (
      text.includes(`"name":${JSON.stringify(service.name)}`) ||
      text.includes(`"host":${JSON.stringify(service.name)}`)
    )
      yield `${titleOf(route)} leads clients to Service/${service.name}, which includes standbys and the port of the agent: let it lead to the Service for users`
  }
}

/** Workloads other than this one whose pods the Service selects as well. */
function* toOthers(service: Manifest, one: Installed, manifests: readonly Manifest[]): Generator<Said> {
  if (dig(service.value, 'spec', 'publishNotReadyAddresses') === true) return
  const { manifest } = one
  for (const other of manifests) {
    const template = asFields(dig(other.value, 'spec', 'template'))
    const isWorkload = ['Deployment', 'StatefulSet', 'DaemonSet', 'Rollout'].includes(other.kind)
    if (isWorkload && other !== manifest && selects(service, { manifest: other, template }))
      yield {
        warning: `Service/${service.name} also selects the pods of ${titleOf(other)}, so it sends requests to both: make its selector that of one workload`,
      }
  }
}

/** The Service behind one of the addresses in --peers. */
function* byPeer(
  { host, port }: { readonly host: string; readonly port: number },
  one: Installed,
  facts: Facts,
): Generator<Said> {
  const { agent, manifest } = one
  const { listen } = agent.options
  if (port !== listen.port)
    yield `its agents listen on port ${listen.port}, but ask each other on port ${port} (--peers): use the same port`
  const labels = host.split('.')
  // A pod of a StatefulSet has a name of its own below that of the Service.
  if (manifest.kind === 'StatefulSet' && /^.+-\d+$/.test(labels[0]!) && labels.length > 1) labels.shift()
  const [name = '', namespace = manifest.namespace] = labels
  const service = facts.manifests.find(
    (other) => other.kind === 'Service' && other.name === name && inOneNamespace(other, { namespace }),
  )
  if (service === undefined) {
    yield absentPeers(host, one, facts)
    return
  }
  if (one.pod.dnsPolicy === 'Default')
    yield `its pods use the DNS of the node (dnsPolicy Default), which does not resolve ${host} (--peers): remove dnsPolicy`
  const spec = asFields(service.value.spec)
  const title = `Service/${service.name}, by which the replicas find each other (--peers),`
  if (spec.clusterIP !== 'None' || spec.publishNotReadyAddresses !== true)
    yield `${title} hides replicas that are not Ready: set clusterIP: None and publishNotReadyAddresses: true`
  if (!matches({ matchLabels: spec.selector }, labelsOf(one)))
    yield `${title} does not select their pods: set its selector to the labels of the pods`
}

function absentPeers(host: string, one: Installed, { manifests, cluster }: Facts): Said {
  const isName = /^[a-z][-a-z0-9]*$/.test(host)
  const isMembers = ({ kind, value }: Manifest) =>
    kind === 'Service' &&
    dig(value, 'spec', 'publishNotReadyAddresses') === true &&
    matches({ matchLabels: dig(value, 'spec', 'selector') }, labelsOf(one))
  const away = manifests.find((other) => isMembers(other) && other.name === host)
  if (isName && away !== undefined)
    return `Service/${host}, by which the replicas find each other (--peers), is in the namespace ${away.namespace}, and the pods are in ${one.manifest.namespace}: move the Service`
  const members = manifests.find((other) => isMembers(other) && inOneNamespace(other, one.manifest))
  if (members !== undefined && (isName || host.split('.')[0] === members.name))
    return `its agents find each other by Service/${host} (--peers), but the Service for that is Service/${members.name}: set LEADER_PEERS to ${members.name}:${one.agent.options.listen.port}`
  if (!isName || cluster === null || cluster.hidden.has('Service'))
    return { unknown: `Service/${host} (--peers) is not among the known objects` }
  return `Service/${host}, by which the replicas find each other (--peers), does not exist: apply a headless Service of that name`
}
