import type { Command } from 'commander'
import { systemClock } from '../../clock.ts'
import { addExamples } from '../../config/command-line.ts'
import { interruption } from '../interruption.ts'
import { type DrillSettings, drillOptions } from './drill-settings.ts'

export function addDrill(program: Command): void {
  const command = program
    .command('drill')
    .description('do to the leader what must not hurt, and measure what users notice')
  const read = drillOptions(command)
  addExamples(command, [
    ['Move leadership while /health is asked', '--service https://langflow.example.org'],
    ["Delete the leader's pod while a flow is run", '--service URL --flow echo --scenario delete-pod'],
    ['For a script, with stricter limits', '--service http://langflow:7860 --rto 5s --yes -o json'],
  ])
  command.action(async () => {
    const options = read(process.env)
    const { whomToAsk } = await import('../confirm.ts')
    const person = whomToAsk(command, options.yes)
    const { operating } = await import('../output.ts')
    await operating(options.output, () => runDrill(options, person))
  })
}

async function runDrill(
  options: DrillSettings,
  person: import('../confirm.ts').Terminal | null,
): Promise<void> {
  const { Cluster } = await import('../cluster.ts')
  const { confirm } = await import('../confirm.ts')
  const { drill } = await import('./drill.ts')
  const { textOf } = await import('./drill-report.ts')
  const { prepare } = await import('./scenarios.ts')
  const { flowAt, healthAt } = await import('./langflow-service.ts')
  const { EXIT_CODES } = await import('../exit-codes.ts')
  const { formatted, write } = await import('../output.ts')
  using interrupted = interruption()
  using cluster = await Cluster.connect(options)
  const { service: url, flow, apiKey, scenario } = options
  const stage = {
    cluster,
    objects: cluster.objects,
    clock: systemClock,
    service: flow === null ? healthAt(url) : flowAt(url, flow, apiKey),
    tell: (line: string) => void process.stderr.write(`${line}\n`),
  }
  if (person !== null) {
    const { plan } = await prepare(stage, 1)
    await confirm(person, `Play ${scenario} on ${plan.from}, which leads?`, interrupted.signal)
  }
  const report = await drill(stage, options, interrupted.signal)
  await write(formatted(options.output, report, () => textOf(report)))
  if (report.result !== 'ok') process.exitCode = EXIT_CODES.failed
}
