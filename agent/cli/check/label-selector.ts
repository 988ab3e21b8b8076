import { asFields, asList, asText, dig, type Fields } from '../manifests/manifest.ts'
import type { Workload } from '../manifests/workload.ts'

/** The pods that a workload has made, by their labels. */
export function podsOf(
  { template }: Pick<Workload, 'template'>,
  pods: readonly Fields[] | null = [],
): readonly Fields[] {
  const wanted = Object.entries(asFields(dig(template, 'metadata', 'labels')))
  return (pods ?? []).filter((pod) =>
    wanted.every(([name, value]) => dig(pod, 'metadata', 'labels', name) === value),
  )
}

/** Whether a label selector, as NetworkPolicies and budgets have it, matches; an empty one matches everything. */
export function matches(selector: unknown, labels: Readonly<Record<string, unknown>>): boolean {
  const exact = Object.entries(asFields(dig(selector, 'matchLabels')))
  if (!exact.every(([name, wanted]) => labels[name] === wanted)) return false
  return asList(dig(selector, 'matchExpressions')).every((one) => {
    const own = labels[asText(dig(one, 'key'))]
    const among = asList(dig(one, 'values')).includes(own)
    switch (dig(one, 'operator')) {
      case 'In':
        return own !== undefined && among
      case 'NotIn':
        return own === undefined || !among
      case 'Exists':
        return own !== undefined
      case 'DoesNotExist':
        return own === undefined
      default:
        return false
    }
  })
}
