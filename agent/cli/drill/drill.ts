import { addAbortListener } from 'node:events'
import { type Clock, systemClock } from '../../clock.ts'
import { readable } from '../../config/values.ts'
import { holderOf } from '../../lease/lease.ts'
import { historyOf } from '../../lease/lease-history.ts'
import { LAST_DRILL, type LastDrill, podOf } from '../../lease/operator-annotations.ts'
import { Cluster, swap } from '../cluster.ts'
import { EXIT_CODES, mayHaveHappened, OperationError } from '../exit-codes.ts'
import { formatted, operating, write } from '../output.ts'
import { type Plan, withdraw } from '../switchover.ts'
import { confirm, interruption, type Terminal } from '../terminal.ts'
import type { DrillSettings } from './drill-command.ts'
import { judge, type Report, textOf } from './drill-report.ts'
import { flowAt, healthAt, notServed } from './langflow-service.ts'
import { measure, type Probe, Prober } from './prober.ts'
import { act, happened, prepare, type Stage } from './scenarios.ts'

type Options = Pick<DrillSettings, 'scenario' | 'rtoMs' | 'timeoutMs'>

/** How long the prober runs before the fault, and after the recovery: longer than the renewal that notes a term's phases. */
const QUIET_MS = 3_000
/** Time between two looks at Lease and replicas. */
const LOOK_MS = 500

/** Resolves to the exit code. @param terminal where to ask for confirmation; `null`: do not ask */
export function runDrill(options: DrillSettings, terminal: Terminal | null): Promise<number> {
  const { service, flow, apiKey, scenario, output } = options
  return operating(output, async () => {
    using interrupted = interruption()
    using cluster = await Cluster.connect(options)
    const stage = {
      cluster,
      objects: cluster.objects,
      clock: systemClock,
      service: flow === null ? healthAt(service) : flowAt(service, flow, apiKey),
      tell: (line: string) => void process.stderr.write(`${line}\n`),
    }
    if (terminal !== null) {
      const { plan } = await prepare(stage, 1)
      await confirm(terminal, `Play ${scenario} on ${plan.from}, which leads?`, interrupted.signal)
    }
    const report = await drill(stage, options, interrupted.signal)
    await write(formatted(output, report, () => textOf(report)))
    return report.result === 'ok' ? EXIT_CODES.fine : EXIT_CODES.failed
  })
}

/**
 * Plays a scenario on the leader while a prober uses the service, and notes the result in the Lease. Resolves to a report once the
 * replicas have recovered. Rejects with an `OperationError` if nothing was done, if they do not recover, and once `signal` aborts.
 */
export async function drill(stage: Stage, options: Options, signal: AbortSignal): Promise<Report> {
  const { clock, cluster, service, tell } = stage
  const quit = new AbortController()
  const prober = new Prober(service, clock, quit.signal)
  let did: string | null = null
  let asked: Plan | null = null
  try {
    await servedBefore(stage, prober.probes, signal)
    const { plan, hasFronts } = await prepare(stage, 1)
    if (options.scenario === 'switchover') asked = plan
    did = await act(options.scenario, stage, plan)
    tell(did)
    const wellAgainMs = await recovered(stage, options, plan, signal)
    asked = null
    await pause(clock, QUIET_MS, signal)
    await prober.stop()
    const measured = measure(prober.probes, (await service.messages?.kept()) ?? null)
    const mustHold = hasFronts && options.scenario !== 'force-delete-pod'
    const problem = judge(measured, options.rtoMs, mustHold)
    // Only after the renewals that followed does it hold the duration of each phase.
    const lease = await cluster.lease()
    await note(stage, problem === null ? 'ok' : 'missed')
    return {
      namespace: cluster.namespace,
      lease: cluster.leaseName,
      ended: new Date(clock.now().wall).toISOString(),
      scenario: options.scenario,
      result: problem === null ? 'ok' : 'missed',
      problem,
      did,
      from: plan.from,
      to: podOf(holderOf(lease)),
      rtoLimitMs: options.rtoMs,
      measured,
      wellAgainMs,
      terms: historyOf(lease).filter(({ epoch }) => epoch >= plan.epoch),
    }
  } catch (error) {
    if (did === null && !mayHaveHappened(error)) asked = null
    // Also if nothing was done: metrics and alerts report a scheduled drill that failed, which no person watches.
    if (did !== null || !signal.aborted) await note(stage, 'failed')
    throw error
  } finally {
    quit.abort()
    await prober.stop()
    if (asked !== null) await takeBack(stage, asked)
    await service.messages
      ?.forget()
      .catch(({ message }) => tell(`the messages of the drill stay: ${message}`))
  }
}

/** Probes before the fault. Rejects if users are not served, or if acknowledged messages are not stored. */
async function servedBefore(
  { clock, service }: Stage,
  probes: readonly Probe[],
  signal: AbortSignal,
): Promise<void> {
  await pause(clock, QUIET_MS, signal)
  while (probes.every(({ problem }) => problem !== null)) {
    if (probes.length > 0)
      throw notServed(`users are not served before the drill: ${service.what}: ${probes[0]?.problem}`)
    await pause(clock, LOOK_MS, signal)
  }
  // A message that is acknowledged during the request may be missing in its answer.
  const acknowledged = [...probes]
  const kept = await service.messages?.kept()
  if (kept !== undefined && measure(acknowledged, kept).lost !== 0)
    throw notServed(`${service.what} answers and stores no message: give --flow one that stores them`)
}

/** Resolves to the time until as many replicas as before could take over. Rejects with an `OperationError` if they do not in time. */
async function recovered(
  stage: Stage,
  { scenario, timeoutMs }: Options,
  plan: Plan,
  signal: AbortSignal,
): Promise<number> {
  const { clock, tell } = stage
  const beganAt = clock.mono()
  for (let lacks = 'it had no effect'; ; ) {
    await pause(clock, LOOK_MS, signal)
    const afterMs = Math.round(clock.mono() - beganAt)
    try {
      if (await happened(scenario, stage, plan)) {
        await prepare(stage, plan.candidates.length)
        tell(`as many replicas as before could take over again after ${readable(afterMs)}`)
        return afterMs
      }
    } catch (error) {
      if (!(error instanceof OperationError) || error.code === 'refused') throw error
      lacks = error.message
    }
    if (afterMs >= timeoutMs)
      throw new OperationError('failed', `not well again within ${readable(timeoutMs)}: ${lacks}`)
  }
}

async function takeBack({ cluster, tell }: Stage, plan: Plan): Promise<void> {
  const taken = await withdraw(cluster, plan).catch((error: Error) => error.message)
  if (taken !== 'begun') tell(taken === 'withdrawn' ? 'the switchover is not asked for any more' : taken)
}

/** Notes the end and the result of a drill in the Lease. */
async function note({ cluster, clock, tell }: Stage, result: LastDrill['result']): Promise<void> {
  const last = `${new Date(clock.now().wall).toISOString()} ${result}`
  await swap(cluster, () => ({ [LAST_DRILL]: last })).catch(({ message }: Error) =>
    tell(`the Lease does not tell of this drill: ${message}`),
  )
}

/** Rejects as soon as `signal` aborts, and leaves no timer that would keep the process. */
async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  const over = Promise.withResolvers<void>()
  const timer = clock.after(ms, over.resolve)
  using _ = addAbortListener(signal, () => over.reject(new OperationError('interrupted', 'interrupted')))
  await over.promise.finally(() => timer.cancel())
}
