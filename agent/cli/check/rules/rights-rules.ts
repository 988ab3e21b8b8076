import type { Verdict } from '../cluster-facts.ts'
import { accountOf } from '../installation.ts'
import { AGENT_NEEDS, grants, OPERATOR_NEEDS, rightOf, sameRight, shown } from '../rights.ts'
import type { AgentRule, ClusterRule, Facts, Installed, Said } from '../rule.ts'

type Rules<R> = { readonly [code: string]: R }

/** What whoever asks may do. An agent's own account operates nothing. */
export const OPERATOR_RULES: Rules<ClusterRule> = Object.fromEntries(
  Object.entries(OPERATOR_NEEDS).map(([code, need]) => [
    code,
    {
      severity: need.severity,
      about: `you may ${need.verb} ${need.resource}`,
      applies: ({ isAgent }) => !isAgent,
      *find({ namespace, leaseNames, ownRights }: Parameters<ClusterRule['find']>[0]) {
        for (const name of need.named ? leaseNames : leaseNames.slice(0, 1)) {
          const right = rightOf(need, name)
          const allowed = verdict(ownRights, right)
          if (allowed === null)
            yield {
              unknown: `whether you may ${shown(right)} is not to be seen: the API server does not say`,
            }
          if (allowed === false)
            yield `you may not ${shown(right)} in namespace ${namespace}: ask for that verb if you need ${need.for} (deploy/components/operator-role has it)`
        }
      },
    } satisfies ClusterRule,
  ]),
)

/** What the agent's account may do, by what the API server says, else by the Roles that are known. */
export const AGENT_RIGHT_RULES: Rules<AgentRule> = Object.fromEntries(
  Object.entries(AGENT_NEEDS).map(([code, need]) => [
    code,
    {
      severity: need.severity,
      about: `the agent may ${need.verb} ${need.resource}`,
      // What is no pod of a cluster has no account.
      applies: ({ agent: { options }, manifest, ownAccount }) =>
        options.kubeconfig === null && !(manifest.kind === 'Pod' && ownAccount),
      *find(one: Installed, facts: Facts): Generator<Said> {
        const right = rightOf(need, one.agent.options.leaseName)
        const name = accountOf(one)
        const namespace = one.manifest.namespace
        const asked = facts.cluster?.agentRights(name, one.agent.options.leaseName) ?? null
        const allowed =
          (asked && verdict(asked, right)) ?? grants(facts.manifests, { name, namespace }, right)
        if (allowed === true) return
        const account = `ServiceAccount/${name}`
        if (allowed === false)
          yield `its ${account} may not ${shown(right)}, which ${need.for} needs: add the verb to its Role`
        else
          yield {
            unknown: `whether its ${account} may ${shown(right)} is not to be seen: no Role here is bound to it`,
          }
      },
    } satisfies AgentRule,
  ]),
)

function verdict(verdicts: readonly Verdict[], right: Verdict['right']): boolean | null {
  return verdicts.find((one) => sameRight(one.right, right))?.allowed ?? null
}
