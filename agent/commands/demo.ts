import type { Command } from 'commander'
import { addExamples } from '../config/examples.ts'
import { demoOptions } from '../demo/settings.ts'

/** `demo`, and the two hidden commands by which it starts its stand-ins and what clears up behind it. */
export function addDemo(program: Command): void {
  const command = program.command('demo').description('watch three replicas take over from each other')
  const options = demoOptions(command)
  addExamples(command, [
    ['Three takeovers, and then it ends', ''],
    ['Three replicas that stay, for the commands that operate them', '--stay'],
    ['With LangFlow itself', '--command "langflow run --backend-only"'],
  ])
  command.action(async () => {
    const { runDemo } = await import('../demo/demo.ts')
    process.exitCode = await runDemo(options(), process.env)
  })
  program
    .command('demo-workload', { hidden: true })
    .argument('<port>')
    .argument('[beats]')
    .action(async (port: string, beats?: string) => {
      const { serveStandIn } = await import('../demo/beats.ts')
      await serveStandIn(Number(port), beats ?? null, process.env)
    })
  program
    .command('demo-cleanup', { hidden: true })
    .argument('<dir>')
    .argument('<marks...>')
    .action(async (dir: string, marks: string[]) => {
      const { cleanUpAfter } = await import('../demo/workspace.ts')
      await cleanUpAfter(dir, marks)
    })
}
