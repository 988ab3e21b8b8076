import { addAbortListener } from 'node:events'
import { type Clock, systemClock } from '../../clock.ts'
import { readable } from '../../config/values.ts'
import { holderOf } from '../../lease/lease.ts'
import { historyOf } from '../../lease/lease-history.ts'
import { LAST_DRILL, type LastDrill, podOf } from '../../lease/operator-annotations.ts'
import { Cluster, updateAnnotations } from '../cluster.ts'
import { EXIT_CODES, OperationError } from '../exit-codes.ts'
import { formatted, operating, write } from '../output.ts'
import type { Plan } from '../switchover.ts'
import { confirm, interruption, type Terminal } from '../terminal.ts'
import type { DrillSettings } from './drill-command.ts'
import { judge, type Report, textOf } from './drill-report.ts'
import { LangflowApi, notServed } from './langflow-api.ts'
import { flowAt, healthAt, noSuchFlow } from './langflow-service.ts'
import { measure, type Probe, Prober } from './prober.ts'
import { ACTIONS, act, prepare, type Stage } from './scenarios.ts'
import { StateSamples } from './state-samples.ts'

type Options = Pick<DrillSettings, 'scenario' | 'rtoMs' | 'timeoutMs' | 'flow'>

/** Time before the fault, and after the recovery: longer than the leader takes to record a term's phases by a renewal. */
const QUIET_MS = 3_000
/** Time between two reads of Lease and replicas, in milliseconds. */
const LOOK_MS = 500

/** Resolves to the exit code. @param terminal the terminal for the confirmation; `null` skips the confirmation */
export function runDrill(options: DrillSettings, terminal: Terminal | null): Promise<number> {
  const { service, flow, apiKey, scenario, output } = options
  return operating(output, async () => {
    using interrupted = interruption()
    using cluster = await Cluster.connect(options)
    const api = new LangflowApi(service, apiKey)
    const stage = {
      cluster,
      objects: cluster.objects,
      clock: systemClock,
      service: flow === null ? healthAt(api) : flowAt(api, flow),
      samples: flow === null && apiKey === null ? null : new StateSamples(api),
      tell: (line: string) => void process.stderr.write(`${line}\n`),
    }
    if (terminal !== null) {
      const { plan } = await prepare(stage, 1)
      await confirm(terminal, `Run the scenario ${scenario} on the leader, ${plan.from}?`, interrupted.signal)
    }
    const report = await drill(stage, options, interrupted.signal)
    await write(formatted(output, report, () => textOf(report)))
    return report.result === 'ok' ? EXIT_CODES.fine : EXIT_CODES.failed
  })
}

/**
 * Runs a scenario on the leader while a prober uses the service, and records the result in the Lease. Resolves to a report when the
 * replicas have recovered. Rejects with an `OperationError` if the scenario was not run, if the replicas do not recover in time, and
 * when `signal` aborts.
 */
export async function drill(stage: Stage, options: Options, signal: AbortSignal): Promise<Report> {
  const { clock, cluster, service, samples, tell } = stage
  const quit = new AbortController()
  const prober = new Prober(service, clock, quit.signal)
  let did: string | null = null
  try {
    await servedBefore(stage, options.flow, prober.probes, signal)
    const { plan, hasFronts } = await prepare(stage, 1)
    await samples?.write()
    if (signal.aborted) throw new OperationError('interrupted', 'interrupted')
    did = ACTIONS[options.scenario](plan.from)
    const beganAt = clock.mono()
    await act(options.scenario, stage, plan, { timeoutMs: options.timeoutMs, signal })
    tell(did)
    await recovered(stage, plan, beganAt + options.timeoutMs, signal)
    const wellAgainMs = Math.round(clock.mono() - beganAt)
    tell(`the previous number of standbys was ready again after ${readable(wellAgainMs)}`)
    await pause(clock, QUIET_MS, signal)
    await prober.stop()
    const measured = measure(prober.probes, (await service.messages?.kept()) ?? null)
    const state = (await samples?.read()) ?? null
    const mustHold = hasFronts && options.scenario !== 'force-delete-pod'
    const problem = judge({ ...measured, state }, options.rtoMs, mustHold)
    const result = problem === null ? 'ok' : 'missed'
    // The Lease has the duration of each phase only after the next renewals.
    const lease = await cluster.lease()
    await note(stage, result)
    return {
      namespace: cluster.namespace,
      lease: cluster.leaseName,
      ended: new Date(clock.now().wall).toISOString(),
      scenario: options.scenario,
      result,
      problem,
      did,
      from: plan.from,
      to: podOf(holderOf(lease)),
      rtoLimitMs: options.rtoMs,
      measured,
      state,
      wellAgainMs,
      terms: historyOf(lease).filter(({ epoch }) => epoch >= plan.epoch),
    }
  } catch (error) {
    // A failure before the scenario is recorded as well: metrics and alerts then report a scheduled drill that never ran.
    if (did !== null || !signal.aborted) await note(stage, 'failed')
    // If LangFlow does not show what it still has, the loss is unknown, and the drill has failed.
    const isUnknown = did !== null && error instanceof OperationError && error.code === 'not_served'
    throw isUnknown ? new OperationError('failed', error.message) : error
  } finally {
    quit.abort()
    await prober.stop()
    for (const one of [service.messages, samples])
      await one?.forget().catch(({ message }) => tell(`cannot delete all data of this drill: ${message}`))
  }
}

/** Waits until the prober has measured the service before the fault. Rejects if users are not served, or if messages cannot be read. */
async function servedBefore(
  { clock, service }: Stage,
  flow: string | null,
  probes: readonly Probe[],
  signal: AbortSignal,
): Promise<void> {
  await pause(clock, QUIET_MS, signal)
  while (probes.length === 0) await pause(clock, LOOK_MS, signal)
  if (flow !== null && probes.every(({ problem }) => problem === noSuchFlow(flow)))
    throw notServed(`${noSuchFlow(flow)}: set --flow to the id or the endpoint name of one of its flows`)
  if (probes.every(({ problem }) => problem !== null))
    throw notServed(`users are not served before the drill: ${service.what}: ${probes[0]?.problem}`)
  await service.messages?.kept()
}

/** Resolves when another replica leads and the previous number of standbys is ready. Rejects with an `OperationError` after `end`. */
async function recovered(
  { clock, cluster }: Stage,
  { holder, epoch, candidates }: Plan,
  end: number,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await pause(clock, LOOK_MS, signal)
    try {
      const { plan } = await prepare({ clock, cluster }, candidates.length)
      if (plan.epoch > epoch && plan.holder !== holder) return
      throw new OperationError('failed', `${plan.from} still leads`)
    } catch (error) {
      if (!(error instanceof OperationError)) throw error
      if (clock.mono() >= end)
        throw new OperationError('failed', `the replicas did not recover in time: ${error.message}`)
    }
  }
}

/** Records the end and the result of a drill in the Lease. */
async function note({ cluster, clock, tell }: Stage, result: LastDrill['result']): Promise<void> {
  const last = `${new Date(clock.now().wall).toISOString()} ${result}`
  await updateAnnotations(cluster, () => ({ [LAST_DRILL]: last })).catch(({ message }: Error) =>
    tell(`cannot record this drill in the Lease: ${message}`),
  )
}

/** Rejects when `signal` aborts, and cancels the timer, which would keep the process alive. */
async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  const over = Promise.withResolvers<void>()
  const timer = clock.after(ms, over.resolve)
  using _ = addAbortListener(signal, () => over.reject(new OperationError('interrupted', 'interrupted')))
  await over.promise.finally(() => timer.cancel())
}
