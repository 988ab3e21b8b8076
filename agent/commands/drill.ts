import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/examples.ts'
import { type DrillSettings, drillOptions } from '../operate/drill/settings.ts'
import { interruption } from '../operate/interruption.ts'

export function addDrill(program: Command): void {
  const command = program
    .command('drill')
    .description('do to the leader what must not hurt, and measure what users notice')
  const read = drillOptions(command)
  addExamples(command, [
    ['Move leadership while /health is asked', '--service https://langflow.example.org'],
    [
      'Run a flow all along, play everything, and write a report with a time line',
      '--service https://langflow.example.org --flow echo --scenario all --report drill.html',
    ],
    ['For a script, with stricter limits', '--service http://langflow:7860 --rto 5s --yes -o json'],
  ])
  command.action(async () => {
    const options = read(process.env)
    // Before all that takes time: whoever interrupts is told so.
    using interrupted = interruption()
    const { whomToAsk } = await import('../operate/confirm.ts')
    const person = whomToAsk(command, options.yes)
    const { operating } = await import('../operate/output.ts')
    const format = options.output === 'markdown' ? 'table' : options.output
    await operating(format, () => runDrill(options, format, person, interrupted.signal))
  })
}

async function runDrill(
  options: DrillSettings,
  format: 'table' | 'json' | 'yaml',
  person: import('../operate/confirm.ts').Terminal | null,
  signal: AbortSignal,
): Promise<void> {
  const { Cluster } = await import('../operate/cluster.ts')
  const { confirm } = await import('../operate/confirm.ts')
  const { drill, prepare, unlessStopped } = await import('../operate/drill/drill.ts')
  const { handsOn } = await import('../operate/drill/hands.ts')
  const { markdownOf } = await import('../operate/drill/markdown.ts')
  const { drillQuestion } = await import('../operate/drill/report.ts')
  const { serviceAt } = await import('../operate/drill/service.ts')
  const { EXIT_CODES } = await import('../operate/exit-codes.ts')
  const { formatted, write } = await import('../operate/output.ts')
  const { claim } = await import('../operate/drill/html.ts')
  const keeping = options.keepIn === null ? null : await import('../operate/drill/keep.ts')
  const { noteRefusal } = await import('../operate/drill/refusal.ts')
  using cluster = await Cluster.connect(options)
  const stage = {
    cluster,
    hands: handsOn(cluster.objects),
    clock: systemClock,
    service: serviceAt({ url: options.service, flow: options.flow, apiKey: options.apiKey }),
    tell: (line: string) => void process.stderr.write(`${line}\n`),
  }
  using file = options.report === null ? null : claim(options.report)
  const preparing = async () => {
    if (options.keepIn !== null) await keeping?.find(cluster.objects, options.keepIn)
    return await prepare(stage, options.scenarios)
  }
  const play = async () => {
    const prepared = await unlessStopped(preparing(), signal, 'interrupted: nothing was done')
    if (person !== null) await confirm(person, drillQuestion(options.scenarios, prepared.plan), signal)
    return await drill(stage, options, prepared, signal)
  }
  const { report, probes } = await play().catch(async (error) => {
    if (options.keepIn !== null)
      for (const line of await noteRefusal(stage, cluster.objects, options, options.keepIn, error))
        stage.tell(line)
    throw error
  })
  await write(formatted(format, report, () => markdownOf(report)))
  file?.write(report, probes)
  if (options.keepIn !== null) await keeping?.keep(cluster.objects, options.keepIn, report)
  if (report.result !== 'ok')
    process.exitCode = report.result === 'interrupted' ? EXIT_CODES.interrupted : EXIT_CODES.failed
}
