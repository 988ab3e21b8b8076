import type { Command } from 'commander'
import type { Values } from '../config/setting.ts'
import { print } from '../exit.ts'
import { Cluster, type Operable } from './cluster.ts'
import { EXIT_CODES } from './exit-codes.ts'
import type { Follow, Phase } from './following.ts'
import { formatted, operating, write } from './output.ts'
import type { REQUEST_SETTINGS } from './request-settings.ts'
import { confirm, interruption, terminalToAskOn } from './terminal.ts'

/** What an operator requests from the leader. `Plan`: the request as it was possible at the last read. */
export interface Request<Plan, Done> {
  /** Rejects with an `OperationError` if the request is not possible now. */
  readonly plan: (cluster: Operable) => Promise<Plan>
  readonly question: (plan: Plan) => string
  /** Writes the request. Rejects with an `OperationError`. @param confirmed `null` if no confirmation was necessary */
  readonly write: (cluster: Operable, confirmed: Plan | null) => Promise<Plan>
  /** The written request, in other formats than text. */
  readonly requested: (plan: Plan) => object
  readonly describeRequested: (plan: Plan, dryRun: boolean) => string
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

/** Asks for a confirmation, writes the request, and follows it. Resolves to the exit code. */
export function runRequest<Plan, Done>(
  command: Command,
  request: Request<Plan, Done>,
  { yes, wait, timeoutMs, output, reason: _, ...at }: Values<typeof REQUEST_SETTINGS>,
): Promise<number> {
  const terminal = terminalToAskOn(command, yes || at.dryRun)
  return operating(output, async () => {
    using interrupted = interruption()
    const { signal } = interrupted
    using cluster = await Cluster.connect(at)
    const confirmed = terminal === null ? null : await request.plan(cluster)
    if (terminal !== null && confirmed !== null) await confirm(terminal, request.question(confirmed), signal)
    const plan = await request.write(cluster, confirmed)
    if (!wait || at.dryRun) {
      const result = { result: at.dryRun ? 'would_request' : 'requested', ...request.requested(plan) }
      await write(formatted(output, result, () => request.describeRequested(plan, at.dryRun)))
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
