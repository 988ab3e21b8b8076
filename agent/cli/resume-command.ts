import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/command-line.ts'
import { resumeOptions } from './pause-settings.ts'

export function addResume(program: Command): void {
  const command = program.command('resume').description('end a pause')
  const options = resumeOptions(command)
  addExamples(command, [['End the pause of the Lease in namespace team', '-n team']])
  command.action(async () => {
    const said = options()
    const { Cluster } = await import('./cluster.ts')
    const { EXIT_CODES } = await import('./exit-codes.ts')
    const { formatted, operating, write } = await import('./output.ts')
    const { resume } = await import('./pause.ts')
    const { describeResumed, isShownByAll } = await import('./pause-report.ts')
    process.exitCode = await operating(said.output, async () => {
      using cluster = await Cluster.connect(said)
      const change = await resume(cluster, systemClock)
      await write(formatted(said.output, change, () => describeResumed(change)))
      return isShownByAll(change.replicas) ? EXIT_CODES.fine : EXIT_CODES.failed
    })
  })
}
