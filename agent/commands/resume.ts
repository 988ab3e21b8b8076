import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/examples.ts'
import { addSettings, readSettings } from '../config/setting.ts'
import { RESUME_SETTINGS } from '../operate/pause-settings.ts'

export function addResume(program: Command): void {
  const command = program.command('resume').description('end a pause')
  addSettings(command, RESUME_SETTINGS)
  addExamples(command, [['End the pause of the Lease in namespace team', '-n team']])
  command.action(async () => {
    const options = readSettings(command, RESUME_SETTINGS, process.env)
    const { Cluster } = await import('../operate/cluster.ts')
    const { formatted, operating, write } = await import('../operate/output.ts')
    const { resume } = await import('../operate/pause.ts')
    const { describeResumed, isShownByAll } = await import('../operate/pause-report.ts')
    await operating(options.output, async () => {
      const cluster = await Cluster.connect(options)
      try {
        const change = await resume(cluster, systemClock)
        await write(formatted(options.output, change, () => describeResumed(change)))
        if (!isShownByAll(change.replicas)) process.exitCode = 1
      } finally {
        cluster.close()
      }
    })
  })
}
