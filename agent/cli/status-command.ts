import { addAbortListener } from 'node:events'
import type { Command } from 'commander'
import { type Clock, pause, systemClock } from '../clock.ts'
import { addExamples } from '../config/command-line.ts'
import { addFlags, choice, group, onOff, readFlags, type Values } from '../config/setting.ts'
import { oneLine } from '../exit.ts'
import { SOURCE_SETTINGS } from './cluster-settings.ts'

export const STATUS_SETTINGS = {
  ...SOURCE_SETTINGS,
  ...group('Output', {
    output: {
      ...choice(
        ['table', 'wide', 'json', 'yaml'],
        'how it is printed: for people, with every column in full, or for programs',
      ),
      short: '-o',
    },
    watch: { ...onOff('again every 2 s until Ctrl-C'), short: '-w' },
  }),
}

export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description('who leads, could another replica take over, and what keeps one from it')
  addFlags(command, STATUS_SETTINGS)
  addExamples(command, [
    ['Every replica that competes for langflow-leader-lock in the namespace of the kubeconfig', ''],
    ['Redraw it every 2 s', '-n langflow --watch'],
    ['Without a cluster: one replica, and its peers', '--url http://127.0.0.1:8090'],
    ['The pods that could take over', "-o json | jq -r '.replicas[] | select(.status.couldTakeOver).pod'"],
  ])
  command.action(async () => {
    const options = readFlags(command, STATUS_SETTINGS)
    const { operating } = await import('./output.ts')
    process.exitCode = await operating(options.output, () => status(options))
  })
}

/** Resolves to the exit code. */
async function status({ output, watch: again, ...from }: Values<typeof STATUS_SETTINGS>): Promise<number> {
  const { EXIT_CODES } = await import('./exit-codes.ts')
  const { formatted, paintFor, write } = await import('./output.ts')
  const { sourceOf } = await import('./overview.ts')
  const { statusTable } = await import('./status-table.ts')
  const { interruption } = await import('./terminal.ts')
  const { stdout, stderr } = process
  using source = await sourceOf(from)
  let ok = false
  const look = async () => {
    const overview = await source.overview()
    ok = overview.ok
    const style = { paint: paintFor(stdout), wide: output === 'wide' }
    const asTable = () => statusTable(overview, Date.now(), style)
    return formatted(output, overview, asTable, again && !stdout.isTTY)
  }
  if (!again) {
    await write(await look())
    return ok ? EXIT_CODES.fine : EXIT_CODES.failed
  }
  using interrupted = interruption()
  const warn = (sentence: string) => void stderr.write(`langflow-leader: ${sentence}\n`)
  const show = (text: string) => write(stdout.isTTY ? `${CLEAR}${text}` : text)
  await watch(systemClock, { look, show, warn }, interrupted.signal)
  return EXIT_CODES.interrupted
}

/** Between two looks of `--watch`. */
const PERIOD_MS = 2_000
/** Moves to the top, and empties the screen. */
const CLEAR = '\u001b[H\u001b[2J'

interface Watched {
  readonly look: () => Promise<string>
  readonly show: (text: string) => Promise<void>
  readonly warn: (sentence: string) => void
}

/** Shows each look until `signal`. A look that fails is a warning; rejects if the first one fails. */
export async function watch(clock: Clock, { look, show, warn }: Watched, signal: AbortSignal): Promise<void> {
  const aborted = new Promise<void>((resolve) => addAbortListener(signal, () => resolve()))
  let failed = (error: Error): void => {
    throw error
  }
  while (!signal.aborted) {
    const text = await Promise.race([look().catch(failed), aborted])
    failed = ({ message }) => warn(oneLine(message))
    if (text !== undefined) await show(text)
    await pause(clock, PERIOD_MS, aborted)
  }
}
