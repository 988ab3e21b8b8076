import { type Manifest, titleOf } from '../../manifests/manifest.ts'
import { containersIn, inOneNamespace } from '../../manifests/workload.ts'
import { environmentOf } from '../container-environment.ts'
import { leaseNameOf, programOf } from '../installation.ts'
import type { Facts, Rule, Said } from '../rule.ts'
import { startedOptions } from '../started-options.ts'

/** About the jobs that drill a takeover. */
export const DRILL_RULES: readonly Rule<Facts>[] = [
  {
    code: 'drill-settings',
    severity: 'error',
    about: 'each drill job has valid settings',
    breaks: 'The drill fails, or measures another LangFlow, so no takeover is tested.',
    fix: 'Correct the flag or the variable that the finding names.',
    applies: ({ manifests }) => manifests.some((job) => drillIn(job) !== undefined),
    *find(facts) {
      for (const job of facts.manifests) yield* faultsOf(job, facts)
    },
  },
]

/** The container of a job that runs the drill. */
function drillIn(job: Manifest) {
  if (job.kind !== 'CronJob' && job.kind !== 'Job') return undefined
  return containersIn(job).find((one) => programOf(one)?.command === 'drill')
}

function* faultsOf(job: Manifest, { manifests, all }: Facts): Generator<Said> {
  const container = drillIn(job)
  if (container === undefined) return
  const near = manifests.filter((one) => inOneNamespace(one, job))
  const env = environmentOf(container, near, new Set())
  const { fault, unseen, options } = startedOptions('drill', programOf(container)!.args, env)
  if (fault !== null) {
    const text = `${titleOf(job)} would not start: ${fault}`
    yield unseen === null ? text : { unknown: `${text}, unless ${unseen}` }
  }
  const given = options?.leaseName ?? null
  const leases = all.filter(({ manifest }) => inOneNamespace(manifest, job)).map(leaseNameOf)
  if (given !== null && leases.length > 0 && !leases.includes(given) && !leases.includes(null))
    yield `${titleOf(job)} asks for the Lease ${given}, but the agents compete for ${leases.join(' and ')}: correct LEADER_LEASE_NAME in the job`
}
