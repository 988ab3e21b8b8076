import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { addExamples } from '../config/command-line.ts'
import { type StatusOptions, statusOptions } from './cluster-settings.ts'

/** Between two looks of `--watch`. */
const PERIOD_MS = 2_000

export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description('who leads, could another replica take over, and what keeps one from it')
  const options = statusOptions(command)
  addExamples(command, [
    ['Every replica that competes for langflow-leader-lock in the namespace of the kubeconfig', ''],
    ['Redraw it every 2 s', '-n langflow --watch'],
    ['Without a cluster: one replica, and its peers', '--url http://127.0.0.1:8090'],
    ['The pods that could take over', "-o json | jq -r '.replicas[] | select(.status.couldTakeOver).pod'"],
  ])
  command.action(async () => {
    const said = options()
    const { operating } = await import('./output.ts')
    process.exitCode = await operating(said.output, () => status(said))
  })
}

/** Resolves to the exit code. */
async function status({ output, watch: again, url, ...at }: StatusOptions): Promise<number> {
  const { interruption } = await import('./interruption.ts')
  const { EXIT_CODES } = await import('./exit-codes.ts')
  const { formatted, paintFor, write } = await import('./output.ts')
  const { statusTable } = await import('./status-table.ts')
  const { sourceOf } = await import('./status-source.ts')
  const { watch } = await import('./watch-status.ts')
  const { stdout, stderr } = process
  using source = await sourceOf(url, at)
  const read = async () => {
    const overview = await source.overview()
    const look = { paint: paintFor(stdout), wide: output === 'wide' }
    const text = formatted(
      output,
      overview,
      () => statusTable(overview, Date.now(), look),
      again && !stdout.isTTY,
    )
    return { text, ok: overview.ok }
  }
  if (!again) {
    const { text, ok } = await read()
    await write(text)
    return ok ? EXIT_CODES.fine : EXIT_CODES.failed
  }
  using interrupted = interruption()
  const warn = (sentence: string) => void stderr.write(`langflow-leader: ${sentence}\n`)
  await watch({
    read: async () => (await read()).text,
    periodMs: PERIOD_MS,
    signal: interrupted.signal,
    clock: systemClock,
    isTerminal: stdout.isTTY,
    write,
    warn,
  })
  return EXIT_CODES.interrupted
}
