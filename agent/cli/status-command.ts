import { setTimeout } from 'node:timers/promises'
import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { addFlags, choice, group, onOff, readFlags, type Values } from '../config/setting.ts'
import { oneLine } from '../exit.ts'
import { OPERATE_SETTINGS } from './cluster-settings.ts'

export const STATUS_SETTINGS = {
  ...OPERATE_SETTINGS,
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

/** Resolves to the exit code; with `--watch` not before Ctrl-C ends the process. */
async function status({ output, watch, ...from }: Values<typeof STATUS_SETTINGS>): Promise<number> {
  const { EXIT_CODES } = await import('./exit-codes.ts')
  const { formatted, write } = await import('./output.ts')
  const { sourceOf } = await import('./overview.ts')
  const { statusTable } = await import('./status-table.ts')
  using source = await sourceOf(from)
  const look = async () => {
    const overview = await source.overview()
    const text = formatted(output, overview, () => statusTable(overview, Date.now(), output === 'wide'))
    return { ok: overview.ok, text }
  }
  const before = !watch ? '' : process.stdout.isTTY ? CLEAR : output === 'yaml' ? '---\n' : ''
  const first = await look()
  await write(before + first.text)
  while (watch) {
    await setTimeout(PERIOD_MS)
    // A moment without an answer, such as a restart of the API server, does not end it.
    await look().then(
      ({ text }) => write(before + text),
      ({ message }) => process.stderr.write(`langflow-leader: ${oneLine(message)}\n`),
    )
  }
  return first.ok ? EXIT_CODES.fine : EXIT_CODES.failed
}

/** Between two looks of `--watch`. */
const PERIOD_MS = 2_000
/** Moves to the top, and empties the screen. */
const CLEAR = '\u001b[H\u001b[2J'
