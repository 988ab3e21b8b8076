import { type Clock, pause, systemClock } from '../../clock.ts'
import { shortDuration } from '../../config/values.ts'
import { type KubeObjects, POD } from '../../kube/kube-objects.ts'
import { holderOf } from '../../lease/lease.ts'
import { ANY_POD, LAST_DRILL, type LastDrill, podOf } from '../../lease/operator-annotations.ts'
import { DEADLINE_MS } from '../api-connection.ts'
import { Cluster, type Operable, updateAnnotations } from '../cluster.ts'
import { asOperationError, EXIT_CODES, OperationError } from '../exit-codes.ts'
import { formatted, operating, note as printNote, write } from '../output.ts'
import { overviewOf } from '../overview.ts'
import { type Plan, planOf, writeRequest } from '../switchover/switchover-plan.ts'
import { followRequest, interruption, type Limits, repeat } from '../switchover/switchover-progress.ts'
import type { DrillSettings } from './drill-command.ts'
import { type Service, serviceAt } from './langflow-service.ts'
import { ATTEMPT_MS, type Measured, measure, startProber } from './prober.ts'

export interface Stage {
  readonly cluster: Operable
  readonly objects: Pick<KubeObjects, 'get' | 'delete'>
  readonly clock: Clock
  readonly service: Service
  print(line: string): void
}

export type Report = Awaited<ReturnType<typeof drill>>
type Options = Pick<DrillSettings, 'scenario' | 'rtoMs' | 'timeoutMs'>

/** Time after the recovery, until the last failed attempts have ended. */
const QUIET_MS = 3_000
const SWITCHOVER = { what: 'switchover', to: ANY_POD, reason: null, now: false } as const

export function runDrill(options: DrillSettings): Promise<number> {
  const { service, flow, apiKey, yes, output } = options
  return operating(output, async () => {
    if (!yes) throw new OperationError('declined', 'a drill moves the leader: add --yes to run it')
    const signal = interruption()
    using cluster = await Cluster.connect(options)
    const stage = {
      cluster,
      objects: cluster.objects,
      clock: systemClock,
      service: serviceAt(service, flow, apiKey),
      print: printNote,
    }
    const report = await drill(stage, options, signal)
    await write(formatted(output, report, () => describeReport(report)))
    return report.result === 'ok' ? EXIT_CODES.fine : EXIT_CODES.failed
  })
}

export async function drill(stage: Stage, options: Options, signal: AbortSignal) {
  const { clock, cluster, service } = stage
  const { scenario, rtoMs, timeoutMs } = options
  const quit = new AbortController()
  const prober = startProber(service, clock, quit.signal)
  let begun = false
  try {
    const served = async () => prober.probes.find(({ problem }) => problem === null) ?? null
    await until(stage, { timeoutMs: ATTEMPT_MS, signal }, served, () => {
      const problem = prober.probes[0]?.problem
      const sentence = `users are not served before the drill: ${service.what}: ${problem}`
      return new OperationError('not_served', sentence)
    })
    await service.messages?.kept()
    const plan = await prepare(stage, 1)
    if (signal.aborted) throw new OperationError('interrupted', 'interrupted')
    begun = true
    const beganAt = clock.mono()
    stage.print(`the scenario ${scenario} begins, on ${plan.from}`)
    await act(stage, options, plan, { timeoutMs, signal })
    let missing = ''
    const recovered = async () => {
      const now = await prepare(stage, plan.candidates.length).catch((error: Error) => error)
      missing = now instanceof Error ? now.message : `${now.from} still leads`
      return !(now instanceof Error) && now.epoch > plan.epoch && now.holder !== plan.holder ? now : null
    }
    await until(stage, { timeoutMs, signal }, recovered, () => {
      return new OperationError('failed', `the replicas did not recover in time: ${missing}`)
    })
    const wellAgainMs = Math.round(clock.mono() - beganAt)
    stage.print(`the previous number of standbys was ready again after ${shortDuration(wellAgainMs)}`)
    await pause(clock, QUIET_MS)
    if (signal.aborted) throw new OperationError('interrupted', 'interrupted')
    await prober.stop()
    const measured = measure(prober.probes, (await service.messages?.kept()) ?? null)
    const problem = exceeded(measured, rtoMs)
    // `missed`: the replicas recovered, but a limit on time or loss was exceeded.
    const result = problem === null ? 'ok' : 'missed'
    const lease = await cluster.lease()
    await note(stage, result)
    const [{ from }, to] = [plan, podOf(holderOf(lease))]
    return { scenario, result, problem, from, to, measured, wellAgainMs } as const
  } catch (error) {
    // A failure before the scenario is recorded as well: metrics and alerts then report a scheduled drill that never ran.
    if (begun || !signal.aborted) await note(stage, 'failed')
    // If LangFlow does not show what it still has, the loss is unknown, and the drill has failed.
    const isUnknown = begun && error instanceof OperationError && error.code === 'not_served'
    throw isUnknown ? new OperationError('failed', error.message) : error
  } finally {
    quit.abort()
    await prober.stop()
    await service.messages
      ?.forget()
      .catch(({ message }) => stage.print(`cannot delete the messages of this drill: ${message}`))
  }
}

/** Rejects with an `OperationError` unless a handover is possible, nothing is wrong, and at least `able` standbys are ready. */
export async function prepare({ cluster, clock }: Pick<Stage, 'cluster' | 'clock'>, able: number) {
  const lease = await cluster.lease()
  const rows = await cluster.replicas()
  const wallMs = clock.now().wall
  const plan = planOf(SWITCHOVER, lease, rows, wallMs)
  const { problems } = overviewOf(lease, rows, wallMs)
  const count = plan.candidates.length
  if (count < able) problems.push(`${count} of ${able} standbys are ready: see langflow-leader status`)
  if (problems.length > 0) throw new OperationError('not_ready', problems.join('; '))
  return plan
}

/** Runs the scenario on the leader. Rejects with an `OperationError`. A switchover that the leader has not started is withdrawn then. */
async function act(stage: Stage, { scenario }: Options, plan: Plan, limits: Limits): Promise<void> {
  const { cluster, objects, clock, print } = stage
  if (scenario === 'switchover') {
    const written = await writeRequest(cluster, SWITCHOVER, clock.now().wall)
    await followRequest(cluster, clock, written, { ...limits, report: print })
    return
  }
  try {
    const pod = await objects.get(POD, plan.from, DEADLINE_MS)
    await objects.delete(POD, pod, DEADLINE_MS, scenario === 'force-delete-pod' ? 0 : undefined)
  } catch (error) {
    throw asOperationError(error)
  }
}

/** Looks until there is a result. Rejects with an `OperationError` when the time is over, and when the signal aborts. */
async function until<T extends object>(
  { clock }: Stage,
  limits: Limits,
  look: () => Promise<T | null>,
  late: () => OperationError,
): Promise<void> {
  const end = await repeat(clock, limits, look)
  if (end === 'timed_out') throw late()
  if (end === 'interrupted') throw new OperationError('interrupted', 'interrupted')
}

async function note({ cluster, clock, print }: Stage, result: LastDrill['result']): Promise<void> {
  const last = `${new Date(clock.now().wall).toISOString()} ${result}`
  await updateAnnotations(cluster, () => ({ [LAST_DRILL]: last })).catch(({ message }: Error) =>
    print(`cannot record this drill in the Lease: ${message}`),
  )
}

/** The exceeded limits, in one sentence; `null` if there are no such limits. */
export function exceeded({ rtoMs, lost }: Pick<Measured, 'rtoMs' | 'lost'>, limitMs: number): string | null {
  const missed: string[] = []
  if (rtoMs === null) missed.push('users got no good answer after the last failure')
  else if (rtoMs > limitMs) missed.push(`no user was served for ${shortDuration(rtoMs)}, longer than --rto`)
  if (lost !== null && lost > 0) missed.push(`acknowledged messages are missing: ${lost}`)
  return missed.length === 0 ? null : missed.join('; ')
}

export function describeReport({ scenario, problem, from, to, measured, wellAgainMs }: Report): string[] {
  const { rtoMs, lost, failed, requests, firstProblem } = measured
  const facts = {
    scenario,
    result: problem === null ? 'passed' : `missed its limits: ${problem}`,
    leader: `${from}, then ${to}`,
    RTO: rtoMs === null ? 'not over' : shortDuration(rtoMs),
    RPO: lost === null ? 'not measured' : `${lost} messages`,
    'failed requests': `${failed} of ${requests}${firstProblem === null ? '' : ` (the first: ${firstProblem})`}`,
    'recovered after': shortDuration(wellAgainMs),
  }
  return Object.entries(facts).map(([name, fact]) => `${`${name}:`.padEnd(18)}${fact}`)
}
