import { asFields, asList, asNumber, type Fields } from './value.ts'

/** The user and group of the agent's image, and of LangFlow's official one (whose group is 0). */
const IMAGE_ID = 1000

/** As whom the added containers run, so that agent and launcher share a user or a group, and with it the socket. */
export interface User {
  readonly own: { readonly runAsUser?: number; readonly runAsGroup?: number }
  /** What the pod's `supplementalGroups` must be for it; `null`: as they are. */
  readonly supplementalGroups: readonly number[] | null
}

/**
 * The added containers run as LangFlow's user where that is known. Where it is not, or is root, as which nothing of this
 * program runs, LangFlow is given the agent's group. Not by `fsGroup`: that would change who owns LangFlow's volumes.
 */
export function userFor(pod: Fields, langflow: Fields): User {
  const shared = asFields(pod.securityContext)
  const own = { ...shared, ...asFields(langflow.securityContext) }
  const user = asNumber(own.runAsUser)
  const group = asNumber(own.runAsGroup)
  const groups = asList(shared.supplementalGroups)
  if (user !== null && user !== 0) {
    const runAsGroup = group === null ? {} : { runAsGroup: group }
    return { own: { runAsUser: user, ...runAsGroup }, supplementalGroups: null }
  }
  const agentGroup = (user === 0 ? null : asNumber(shared.runAsGroup)) ?? IMAGE_ID
  const share = shared.fsGroup !== undefined || groups.includes(agentGroup) || group === agentGroup
  return {
    own: user === 0 ? { runAsUser: IMAGE_ID, runAsGroup: IMAGE_ID } : {},
    supplementalGroups: share ? null : [...(groups as number[]), agentGroup],
  }
}
