import type { Command } from 'commander'
import type { Values } from '../config/setting.ts'
import { print } from '../exit.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import { REQUEST_REASON } from '../lease/operator-annotations.ts'
import type { ReplicaRow } from '../status/agent-status.ts'
import { Cluster, type Operable, updateAnnotations } from './cluster.ts'
import { EXIT_CODES, OperationError } from './exit-codes.ts'
import type { Follow, Phase } from './following.ts'
import { formatted, operating, write } from './output.ts'
import type { REQUEST_SETTINGS } from './request-settings.ts'
import { confirm, interruption, terminalToAskOn } from './terminal.ts'

/** The leader that a request is for. */
export interface Addressee {
  /** The leader's pod, or the leader's identity if it contains no pod name. */
  readonly from: string
  /** The leader's identity, and its term. */
  readonly holder: string
  readonly epoch: number
}

/** What an operator requests from the leader. `Plan`: the request as it was possible at the last read. */
export interface Request<Plan extends Addressee, Done> {
  /** The annotations of the request. `null` removes one. */
  readonly notes: Readonly<Record<string, string | null>>
  /** The replicas that the plan needs, by default all. */
  readonly replicas?: (cluster: Operable) => Promise<ReplicaRow[]>
  /** Throws an `OperationError` if the request is not possible now. */
  readonly plan: (lease: Lease, rows: readonly ReplicaRow[]) => Plan
  readonly question: (plan: Plan) => string
  /** What to expect from it, in one sentence, for the question and a dry run. */
  readonly prospect?: (plan: Plan) => string
  /** `a handover from langflow-0 to langflow-1` */
  readonly describe: (plan: Plan) => string
  /** The written request, in other formats than text. */
  readonly requested: (plan: Plan) => object
  readonly follow: (cluster: Operable, plan: Plan, follow: Follow) => Promise<Done>
  readonly phaseLine: (phase: Phase) => string
  /** `result`: a stable word. */
  readonly outcome: (done: Done, plan: Plan) => Outcome
}

interface Outcome {
  readonly ok: boolean
  readonly result: object & { readonly result: string }
  /** The result for people, one sentence a line. */
  readonly text: string
}

/** Rejects with an `OperationError` if the request is not possible now. */
export async function readPlan<Plan extends Addressee>(
  cluster: Operable,
  request: Pick<Request<Plan, unknown>, 'plan' | 'replicas'>,
): Promise<Plan> {
  const [lease, rows] = await Promise.all([cluster.lease(), replicasFor(cluster, request)])
  return request.plan(lease, rows)
}

/**
 * Writes a request for the leader by one compare-and-swap. Resolves when it is in the Lease, before the leader acts on it. Rejects with
 * an `OperationError` if it was not written, or if that is uncertain.
 *
 * @param confirmed the plan that the user has confirmed; `null` if no confirmation was necessary
 */
export async function writeRequest<Plan extends Addressee>(
  cluster: Operable,
  request: Pick<Request<Plan, unknown>, 'plan' | 'replicas' | 'notes'>,
  confirmed: Plan | null,
): Promise<Plan> {
  // Without an answer, both fail at the same time.
  const [rows] = await Promise.all([replicasFor(cluster, request), cluster.lease()])
  let plan = confirmed
  await updateAnnotations(cluster, (lease, unsure) => {
    // An earlier write may have succeeded, and a leader without open connections may already have handed over.
    if (unsure && plan !== null && !isFor(lease, plan)) return null
    const now = request.plan(lease, rows)
    if (plan !== null && now.holder !== plan.holder)
      throw new OperationError(
        'conflict',
        `${plan.from} no longer leads, and ${now.from} leads now: start again`,
      )
    plan = now
    return request.notes
  })
  return plan as unknown as Plan
}

function replicasFor(
  cluster: Operable,
  { replicas = (of) => of.replicas() }: Pick<Request<never, unknown>, 'replicas'>,
): Promise<ReplicaRow[]> {
  return replicas(cluster)
}

/** Whether the leader of a request still holds the Lease, in the same term. */
export function isFor(lease: Lease, { holder, epoch }: Addressee): boolean {
  return holderOf(lease) === holder && epochOf(lease) === epoch
}

/**
 * Removes a request that still has this value. Resolves to the Lease after that. Rejects with an `OperationError` that contains the
 * command to remove it by hand.
 */
export async function removeRequest(cluster: Operable, key: string, value: string): Promise<Lease> {
  return await updateAnnotations(cluster, ({ metadata }) =>
    metadata.annotations?.[key] === value ? { [key]: null, [REQUEST_REASON]: null } : null,
  ).catch((error: Error) => {
    const command = `kubectl annotate lease ${cluster.leaseName} --namespace=${cluster.namespace} ${key}-`
    throw new OperationError(
      'failed',
      `the request could not be withdrawn: ${error.message}; withdraw it with ${command}`,
    )
  })
}

/** Asks for a confirmation, writes the request, and follows it. Resolves to the exit code. */
export function runRequest<Plan extends Addressee, Done>(
  command: Command,
  request: Request<Plan, Done>,
  { yes, wait, timeoutMs, output, reason: _, ...at }: Values<typeof REQUEST_SETTINGS>,
): Promise<number> {
  const terminal = terminalToAskOn(command, yes || at.dryRun)
  return operating(output, async () => {
    using interrupted = interruption()
    const { signal } = interrupted
    using cluster = await Cluster.connect(at)
    const confirmed = terminal === null ? null : await readPlan(cluster, request)
    const prospectOf = (plan: Plan) => (request.prospect ? `${request.prospect(plan)}\n` : '')
    if (terminal !== null && confirmed !== null)
      await confirm(terminal, prospectOf(confirmed) + request.question(confirmed), signal)
    const plan = await writeRequest(cluster, request, confirmed)
    if (!wait || at.dryRun) {
      const result = { result: at.dryRun ? 'would_request' : 'requested', ...request.requested(plan) }
      const what = request.describe(plan)
      const text = at.dryRun
        ? `would request ${what} (server dry run)\n${prospectOf(plan)}`
        : `requested ${what}; see langflow-leader status\n`
      await write(formatted(output, result, () => text))
      return EXIT_CODES.fine
    }
    const show = output === 'table' ? print : (line: string) => void process.stderr.write(line)
    const tell = (phase: Phase) => show(request.phaseLine(phase))
    const done = await request.follow(cluster, plan, { timeoutMs, signal, tell })
    const { ok, result, text } = request.outcome(done, plan)
    await write(formatted(output, result, () => text))
    return ok ? EXIT_CODES.fine : EXIT_CODES.failed
  })
}
