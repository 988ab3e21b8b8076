import { asFields, asList, asText, dig, type Fields, titleOf } from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { type Installation, labelsOf, matches } from '../installation.ts'
import type { Rule } from '../rule.ts'
import { scalersOf } from '../scale.ts'

const NODE_LABEL = 'kubernetes.io/hostname'

/** How many pods there are, and where they run. */
export const SCALE_RULES: readonly Rule<Installation>[] = [
  {
    code: 'replicas-one',
    severity: 'warning',
    about: 'there is a second replica to take over',
    breaks: 'No replica can take over. LangFlow is unavailable until Kubernetes starts the pod again.',
    fix: 'Set replicas to 2 or more.',
    *find({ scale: { least, why } }) {
      if (least > 1) return
      yield why === null
        ? 'it has one replica, so no replica can take over: set replicas to 2 or more'
        : `it ${why}, so there may be no replica that can take over: set replicas, or the least number of the autoscaler, to 2 or more`
    },
  },
  {
    code: 'autoscaler',
    severity: 'warning',
    about: 'no autoscaler changes the number of replicas',
    breaks:
      'More replicas do not serve more requests: all but the leader are standbys. When it scales down, it may delete the leader.',
    fix: 'Remove the autoscaler, and give LangFlow more CPU.',
    sees: 'HorizontalPodAutoscaler',
    *find({ manifest, scale }, { manifests }) {
      if (scale.least === scale.most) return
      const near = manifests.filter((one) => inOneNamespace(one, manifest))
      for (const one of scalersOf(manifest, near))
        yield `${titleOf(one)} changes the number of replicas, but additional replicas are only standbys: remove it, and give LangFlow more CPU instead`
    },
  },
  {
    code: 'vertical-autoscaler',
    severity: 'warning',
    about: 'no autoscaler evicts pods to resize them',
    breaks: 'Each resize evicts the leader, which is a takeover.',
    fix: 'Set updatePolicy.updateMode of the VerticalPodAutoscaler to Off or Initial.',
    sees: 'VerticalPodAutoscaler',
    *find({ manifest }, { manifests }) {
      for (const one of manifests) {
        const target = dig(one.value, 'spec', 'targetRef')
        const mode = String(dig(one.value, 'spec', 'updatePolicy', 'updateMode') ?? 'Auto')
        if (one.kind !== 'VerticalPodAutoscaler' || !inOneNamespace(one, manifest)) continue
        if (dig(target, 'kind') !== manifest.kind || dig(target, 'name') !== manifest.name) continue
        // YAML 1.1 reads a bare Off as false.
        if (!['Off', 'Initial', 'false'].includes(mode))
          yield `${titleOf(one)} evicts pods to resize them (updateMode ${mode}), and so causes takeovers: set updateMode to Off or Initial`
      }
    },
  },
  {
    code: 'one-node',
    severity: 'warning',
    about: 'nothing keeps all replicas on one node',
    breaks: 'If that node fails, all replicas fail with it.',
    fix: 'Remove what keeps the pods on one node, and add topologySpreadConstraints for kubernetes.io/hostname.',
    sees: 'Pod',
    *find(one, { manifests }) {
      const reason = nodeOf(one)
      if (reason !== null) {
        yield `${reason} keeps all its pods on one node, so they fail together: remove it, and add topologySpreadConstraints for ${NODE_LABEL}`
        return
      }
      const spread = asList(one.pod.topologySpreadConstraints).map(asFields)
      const isIdle = ({ labelSelector }: Readonly<Fields>) => !matches(labelSelector, labelsOf(one))
      const apart = dig(one.pod, 'affinity', 'podAntiAffinity')
      if (spread.length > 0 && spread.every(isIdle) && apart === undefined)
        yield `its topologySpreadConstraints select other pods, and replace the scheduler's own, so all its pods may run on one node: set their labelSelector to the labels of the pods`
      const pods = manifests.filter(
        (pod) =>
          pod.kind === 'Pod' &&
          matches(dig(one.spec, 'selector'), asFields(dig(pod.value, 'metadata', 'labels'))),
      )
      const places = pods.map(({ value }) => asText(dig(value, 'spec', 'nodeName'))).filter(Boolean)
      const nodes = new Set(places)
      if (places.length > 1 && nodes.size === 1)
        yield `all its pods run on the node ${[...nodes][0]}, so they fail together: add topologySpreadConstraints for ${NODE_LABEL}, and delete a pod that does not lead`
    },
  },
]

/** The field that keeps all pods of a workload on one node; `null` if there is none. */
function nodeOf({ pod, ...workload }: Installation): string | null {
  if (asText(pod.nodeName) !== '') return 'nodeName'
  if (dig(pod, 'nodeSelector', NODE_LABEL) !== undefined) return `the nodeSelector ${NODE_LABEL}`
  const required = 'requiredDuringSchedulingIgnoredDuringExecution'
  const terms = asList(dig(pod, 'affinity', 'nodeAffinity', required, 'nodeSelectorTerms'))
  if (terms.length > 0 && new Set(terms.map(nodeInTerm)).size === 1 && nodeInTerm(terms[0]) !== null)
    return 'its nodeAffinity'
  const near = asList(dig(pod, 'affinity', 'podAffinity', required)).map(asFields)
  const isTogether = near.some(
    ({ topologyKey, labelSelector }) =>
      topologyKey === NODE_LABEL && matches(labelSelector, labelsOf(workload)),
  )
  return isTogether ? 'its podAffinity' : null
}

/** The only node that a term of a nodeAffinity allows; `null` if it allows several. */
function nodeInTerm(term: unknown): string | null {
  const rules: readonly Fields[] = [
    ...asList(dig(term, 'matchExpressions')),
    ...asList(dig(term, 'matchFields')),
  ].map((one) => ({ ...asFields(one) }))
  const named = rules.find(
    ({ key, operator, values }) =>
      (key === NODE_LABEL || key === 'metadata.name') && operator === 'In' && asList(values).length === 1,
  )
  return named === undefined ? null : asText(asList(named.values)[0])
}
