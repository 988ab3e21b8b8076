import { setTimeout } from 'node:timers/promises'
import type { Command } from 'commander'
import { addExamples } from '../config/command-line.ts'
import { addFlags, choice, group, onOff, readFlags, type Values } from '../config/setting.ts'
import { oneLine } from '../exit.ts'
import { OPERATE_SETTINGS } from './cluster-settings.ts'

export const STATUS_SETTINGS = {
  ...OPERATE_SETTINGS,
  ...group('Cluster', {
    allNamespaces: { ...onOff('list the Leases of langflow-leader in all namespaces'), short: '-A' },
  }),
  ...group('Output', {
    output: {
      ...choice(['table', 'wide', 'json', 'yaml'], 'the output format (wide adds columns)'),
      short: '-o',
    },
    watch: { ...onOff('refresh every 2 s until Ctrl-C'), short: '-w' },
  }),
}

export function addStatus(program: Command): void {
  const command = program
    .command('status')
    .description('show the leader, the standbys, and why a standby is not ready')
  addFlags(command, STATUS_SETTINGS)
  addExamples(command, [
    ['Show the replicas in the current namespace', ''],
    ['List the Leases of all namespaces, with their leaders', '-A'],
    ['Refresh every 2 s', '-n langflow --watch'],
    ['Ask one agent, without the API server', '--url http://127.0.0.1:8090'],
    [
      'Print the pods that can take over',
      "-o json | jq -r '.replicas[] | select(.status.couldTakeOver).pod'",
    ],
  ])
  command.action(async () => {
    const options = readFlags(command, STATUS_SETTINGS)
    if (options.allNamespaces && (options.leaseName ?? options.url) !== null)
      command.error('--all-namespaces lists all Leases: remove it, or remove --lease-name and --url')
    const { operating } = await import('./output.ts')
    process.exitCode = await operating(options.output, () => status(options))
  })
}

/** Resolves to the exit code. With `--watch`, it never resolves: Ctrl-C ends the process. */
async function status(options: Values<typeof STATUS_SETTINGS>): Promise<number> {
  const { output, watch, allNamespaces, ...from } = options
  const { EXIT_CODES } = await import('./exit-codes.ts')
  const { formatted, write } = await import('./output.ts')
  const { sourceOf } = await import('./overview.ts')
  const { leasesEverywhere, leasesTable } = await import('./product-leases.ts')
  const { statusTable } = await import('./status-table.ts')
  using source = allNamespaces ? null : await sourceOf(from)
  const look = async () => {
    if (source === null) {
      const leases = await leasesEverywhere(from)
      return { ok: true, text: formatted(output, { leases }, () => leasesTable(leases, Date.now())) }
    }
    const overview = await source.overview()
    const text = formatted(output, overview, () => statusTable(overview, Date.now(), output === 'wide'))
    return { ok: overview.ok, text }
  }
  const before = !watch ? '' : process.stdout.isTTY ? CLEAR : output === 'yaml' ? '---\n' : ''
  const first = await look()
  await write(before + first.text)
  while (watch) {
    await setTimeout(PERIOD_MS)
    // A failed read, such as during a restart of the API server, does not end the watch.
    await look().then(
      ({ text }) => write(before + text),
      ({ message }) => process.stderr.write(`langflow-leader: ${oneLine(message)}\n`),
    )
  }
  return first.ok ? EXIT_CODES.fine : EXIT_CODES.failed
}

/** Time between two refreshes of `--watch`, in milliseconds. */
const PERIOD_MS = 2_000
/** Moves the cursor to the top, and clears the screen. */
const CLEAR = '\u001b[H\u001b[2J'
