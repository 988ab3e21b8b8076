import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/command-line.ts'
import { pauseOptions } from './pause-settings.ts'

export function addPause(program: Command): void {
  const command = program
    .command('pause')
    .description('let no takeover start and leave LangFlow alone, for a while')
  const options = pauseOptions(command)
  addExamples(command, [
    ['For half an hour, and say why', '--for 30m --reason "database upgrade"'],
    ['Until somebody resumes', ''],
    ['An hour from now instead, for the same reason', '--for 1h'],
  ])
  command.action(async () => {
    const said = options()
    const { Cluster } = await import('./cluster.ts')
    const { EXIT_CODES } = await import('./exit-codes.ts')
    const { formatted, operating, write } = await import('./output.ts')
    const { pause } = await import('./pause.ts')
    const { describePaused, isInForce } = await import('./pause-report.ts')
    process.exitCode = await operating(said.output, async () => {
      using cluster = await Cluster.connect(said)
      const change = await pause(cluster, systemClock, said)
      await write(formatted(said.output, change, () => describePaused(change)))
      return isInForce(change) ? EXIT_CODES.fine : EXIT_CODES.failed
    })
  })
}
