import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import type { Values } from '../config/setting.ts'
import { print } from '../exit.ts'
import { describeRequest, type OperatorRequest } from '../lease/operator-annotations.ts'
import { Cluster } from './cluster.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { writeRequest } from './operator-request.ts'
import { formatted, operating, write } from './output.ts'
import type { REQUEST_SETTINGS } from './request-command.ts'
import { describeOutcome, followRequest, phaseLine } from './request-progress.ts'
import { confirm, interruption, terminalToAskOn } from './terminal.ts'

/** Asks for a confirmation, writes the request, and follows it. Resolves to the exit code. */
export function runRequest(
  command: Command,
  asked: Pick<OperatorRequest, 'what' | 'to'>,
  { reason, yes, timeoutMs, output, ...at }: Values<typeof REQUEST_SETTINGS>,
): Promise<number> {
  const terminal = terminalToAskOn(command, yes)
  return operating(output, async () => {
    using interrupted = interruption()
    const { signal } = interrupted
    using cluster = await Cluster.connect(at)
    const question = `Request a ${describeRequest(asked)} in ${cluster.namespace}/${cluster.leaseName}?`
    if (terminal !== null) await confirm(terminal, question, signal)
    const plan = await writeRequest(cluster, { ...asked, reason }, systemClock.now().wall)
    const show = output === 'table' ? print : (line: string) => void process.stderr.write(line)
    const limits = {
      timeoutMs,
      signal,
      report: (phase: Parameters<typeof phaseLine>[0]) => show(phaseLine(phase)),
    }
    const outcome = await followRequest(cluster, systemClock, plan, limits)
    await write(formatted(output, outcome, () => describeOutcome(outcome)))
    return outcome.result === 'elsewhere' ? EXIT_CODES.failed : EXIT_CODES.fine
  })
}
