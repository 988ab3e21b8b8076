import { createHash } from 'node:crypto'
import type { Target } from './langflow-container.ts'
import { asFields, asList, asNumber, asText, dig, type Fields, type Manifest } from './manifest.ts'

export const DEFAULT_PORT = 7860

/** What is to be known of a LangFlow to wrap it. */
export type Workload<M extends Manifest = Manifest> = ReturnType<typeof readWorkload<M>>

/** `leaseName`, `targetPort`: where they were given; `null`: they follow from the workload. */
export function readWorkload<M extends Manifest>(
  { manifest, container }: Target<M>,
  { leaseName = null, targetPort = null }: { leaseName?: string | null; targetPort?: number | null } = {},
) {
  const spec = asFields(manifest.value.spec)
  const template = asFields(spec.template)
  const pod = asFields(template.spec)
  const langflow = asFields(asList(pod.containers).find((one) => dig(one, 'name') === container))
  const account = asText(pod.serviceAccountName) || asText(pod.serviceAccount)
  const { name } = manifest
  const said = targetPort ?? portOf(langflow, frontOf(pod))
  return {
    manifest,
    spec,
    template,
    pod,
    langflow,
    container,
    /** Where LangFlow listens. */
    port: said ?? DEFAULT_PORT,
    /** Whether that is said, or only usual. */
    portIsSaid: said !== null,
    replicas: asNumber(spec.replicas) ?? 1,
    /** Of the objects that go with it. */
    names: {
      account: account || subdomain(name, '-langflow-leader'),
      role: subdomain(name, '-langflow-leader'),
      lease: leaseName ?? subdomain(name, '-leader'),
      members: label(name, '-members'),
    },
    /** Whether the pods get an account of their own. */
    ownAccount: account === '',
  }
}

/** The labels that all pods of it have, and as far as can be seen no others. */
export function podLabels({ spec, template }: Pick<Workload, 'spec' | 'template'>): Fields {
  const selector = asFields(dig(spec, 'selector', 'matchLabels'))
  return Object.keys(selector).length > 0 ? selector : asFields(dig(template, 'metadata', 'labels'))
}

/** The Services by which LangFlow itself is reached. */
export function servicesOf<M extends Manifest>(
  workload: Pick<Workload, 'manifest' | 'template' | 'langflow' | 'port'>,
  manifests: readonly M[],
): M[] {
  return manifests.filter(
    (manifest) =>
      manifest.kind === 'Service' &&
      inOneNamespace(manifest, workload.manifest) &&
      selects(manifest, workload) &&
      asList(dig(manifest.value, 'spec', 'ports')).some((port) => leadsTo(port, workload)),
  )
}

/** Charts name the namespace in some manifests, and leave it to the command in others. */
export function inOneNamespace(a: Pick<Manifest, 'namespace'>, b: Pick<Manifest, 'namespace'>): boolean {
  return a.namespace === null || b.namespace === null || a.namespace === b.namespace
}

function selects({ value }: Manifest, { template }: Pick<Workload, 'template'>): boolean {
  const labels = asFields(dig(template, 'metadata', 'labels'))
  const selector = Object.entries(asFields(dig(value, 'spec', 'selector')))
  return selector.length > 0 && selector.every(([name, wanted]) => labels[name] === wanted)
}

function leadsTo(port: unknown, { langflow, port: wanted }: Pick<Workload, 'langflow' | 'port'>): boolean {
  const target = dig(port, 'targetPort') ?? dig(port, 'port')
  if (typeof target !== 'string') return target === wanted
  return asList(langflow.ports).some(
    (own) => dig(own, 'name') === target && dig(own, 'containerPort') === wanted,
  )
}

/** Which port the front of these pods asks LangFlow on, `null` where it is not said; `null`: they have none. */
function frontOf(pod: Fields): { readonly target: number | null } | null {
  const agent = asList(pod.initContainers).find((one) => dig(one, 'name') === 'agent')
  const told = (name: string) =>
    asText(
      dig(
        asList(dig(agent, 'env')).find((one) => dig(one, 'name') === name),
        'value',
      ),
    )
  if (told('LEADER_TRAFFIC') !== 'front') return null
  const port = /:(\d+)\/?$/.exec(told('LEADER_TARGET'))?.[1]
  return { target: port === undefined ? null : Number(port) }
}

/** From what LangFlow is told, else from what its container declares; `null`: it says nothing. */
function portOf(langflow: Fields, front: ReturnType<typeof frontOf>): number | null {
  const words = [...asList(langflow.command), ...asList(langflow.args)].join(' ')
  const flags = new Set([...words.matchAll(/--port[ =]["']?(\d+)\b/g)].map(([, port]) => Number(port)))
  const [flag] = flags
  if (flags.size === 1 && flag !== undefined) return flag
  const variable = asList(langflow.env).find((one) => dig(one, 'name') === 'LANGFLOW_PORT')
  const said = Number(dig(variable, 'value'))
  if (said > 0) return said
  // What is declared then is the front's port, in place of LangFlow's.
  if (front !== null) return front.target
  const declared = asList(langflow.ports).map((port) => asNumber(dig(port, 'containerPort')))
  return declared.length === 1 && declared[0] ? declared[0] : null
}

const LONGEST_SUBDOMAIN = 253
const LONGEST_LABEL = 63

function subdomain(name: string, suffix: string): string {
  return name.length + suffix.length <= LONGEST_SUBDOMAIN ? name + suffix : short(name) + suffix
}

/** A Service's name has no dots and begins with a letter; a workload's may be otherwise. */
function label(name: string, suffix: string): string {
  const fits = name.length + suffix.length <= LONGEST_LABEL && /^[a-z][-a-z0-9]*$/.test(name)
  return fits ? name + suffix : short(name) + suffix
}

function short(name: string): string {
  return `langflow-${createHash('sha256').update(name).digest('hex').slice(0, 8)}`
}
