import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/examples.ts'
import { addSettings, readSettings } from '../config/setting.ts'
import { PAUSE_SETTINGS } from '../operate/pause-settings.ts'

export function addPause(program: Command): void {
  const command = program
    .command('pause')
    .description('let no takeover start and leave LangFlow alone, for a while')
  addSettings(command, PAUSE_SETTINGS)
  addExamples(command, [
    ['For half an hour, and say why', '--for 30m --reason "database upgrade"'],
    ['Until somebody resumes', ''],
    ['An hour from now instead, for the same reason', '--for 1h'],
  ])
  command.action(async () => {
    const options = readSettings(command, PAUSE_SETTINGS, process.env)
    const { Cluster } = await import('../operate/cluster.ts')
    const { formatted, operating, write } = await import('../operate/output.ts')
    const { pause } = await import('../operate/pause.ts')
    const { describePaused, isShownByAll } = await import('../operate/pause-report.ts')
    await operating(options.output, async () => {
      const cluster = await Cluster.connect(options)
      try {
        const change = await pause(cluster, systemClock, options)
        await write(formatted(options.output, change, () => describePaused(change)))
        if (!isShownByAll(change.replicas)) process.exitCode = 1
      } finally {
        cluster.close()
      }
    })
  })
}
