import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { runDemo } from '../demo/demo.ts'
import { keepWatch } from '../demo/keeper.ts'
import { demoOptions, parseDemoOptions } from '../demo/settings.ts'
import { serveStandIn } from '../demo/stand-in.ts'

/** `demo`, and the two hidden commands by which it starts its stand-ins and what clears up behind it. */
export function addDemo(program: Command): void {
  const command = program.command('demo').description('watch three replicas take over from each other')
  demoOptions(command).action(async () => {
    process.exitCode = await runDemo(parseDemoOptions(command), process.env, systemClock)
  })
  program
    .command('demo-workload', { hidden: true })
    .argument('<port>')
    .argument('<beats>')
    .action(async (port: string, beats: string) => {
      process.exitCode = await serveStandIn(Number(port), beats, process.env, systemClock)
    })
  program
    .command('demo-keeper', { hidden: true })
    .argument('<dir>')
    .argument('<marks...>')
    .action(async (dir: string, marks: string[]) => {
      process.exitCode = await keepWatch(process.stdin, dir, marks, systemClock)
    })
}
