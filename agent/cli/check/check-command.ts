import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { addSettings, choice, flagOf, group, optional, readSettings } from '../../config/setting.ts'
import { parseDuration, parseNamespace } from '../../config/values.ts'
import { CLUSTER_SETTINGS } from '../cluster-settings.ts'
import { addFilenames, readFilenames } from '../manifests/filename-option.ts'
import type { Wanted } from './gather.ts'

const CHECK_SETTINGS = {
  ...group('Check', {
    container: optional(
      '<name>',
      'the container that runs LangFlow',
      "the name of LangFlow's container",
      parseNamespace,
    ),
    failOn: choice(
      ['error', 'warning', 'unknown'],
      'the least severity of a finding that causes exit code 1; unknown includes the others',
    ),
    waitMs: optional(
      '<duration>',
      'one check',
      'repeat the check until it passes, for at most this time',
      (text) => parseDuration(text, 1000),
    ),
    explain: optional(
      '<code>',
      'all rules are checked',
      'describe one rule, the consequence of a violation, and the fix',
      (text) => text,
    ),
  }),
  ...CLUSTER_SETTINGS,
  leaseName: {
    ...CLUSTER_SETTINGS.leaseName,
    otherwise: 'every LangFlow in the namespace is checked',
    about: 'restrict the check to the LangFlow of this Lease',
  },
  ...group('Output', {
    output: {
      ...choice(['table', 'short', 'json', 'yaml'], 'the output format; short has only the findings'),
      short: '-o',
    },
  }),
}

/** The flags that have no effect if manifests are given. */
const OF_CLUSTER = [...Object.keys(CLUSTER_SETTINGS), 'wait']

export function addCheck(program: Command): void {
  const command = program
    .command('check')
    .description('check a cluster or manifests for problems that prevent a takeover')
  addSettings(addFilenames(command), CHECK_SETTINGS)
  addExamples(command, [
    ['Check a namespace and its API server', '-n langflow'],
    ['Check the manifests of a directory, without a cluster', '-f manifests/'],
    ['Check the output of helm in CI', '-f - --fail-on warning -o short < rendered.yaml'],
    ['Wait until an installation is well', '-n langflow --wait 2m'],
    ['Describe a rule', '--explain lease-shared'],
  ])
  command.action(async () => {
    const { files, explain, container, failOn, waitMs, output, ...cluster } = readOptions(command)
    const { EXIT_CODES } = await import('../exit-codes.ts')
    const { operating, write } = await import('../output.ts')
    const { CATALOGUE } = await import('./check.ts')
    const { report, summaryOf } = await import('./check-report.ts')
    if (explain !== null) {
      const { explained } = await import('./explanation.ts')
      const rule = CATALOGUE.find(({ code }) => code === explain)
      if (rule === undefined)
        return command.error(`--explain '${explain}': no rule has this code; each finding names its code`)
      await write(explained(rule))
      return
    }
    await operating(output === 'short' ? 'table' : output, async () => {
      const { checkUntil } = await import('./check-until.ts')
      const gather = () =>
        files === null ? fromCluster({ ...cluster, container }) : fromFiles(files, container)
      const results = await checkUntil(gather, { failOn, waitMs: waitMs ?? 0 })
      const summary = summaryOf(results, failOn)
      await write(report(results, summary, output))
      if (!summary.ok) process.exitCode = EXIT_CODES.failed
    })
  })
}

/** The options. `files`: the manifests to check; `null` to check a cluster. Throws a usage error for a wrong value. */
function readOptions(command: Command) {
  const files = readFilenames(command)
  const useless = OF_CLUSTER.find((key) => command.getOptionValue(key) !== undefined)
  if (files !== null && useless !== undefined)
    command.error(
      `${flagOf(useless)} has no effect with --filename, which uses no cluster: remove one of the flags`,
    )
  return { files, ...readSettings(command, CHECK_SETTINGS, process.env) }
}

async function fromCluster(wanted: Wanted) {
  const { gather } = await import('./gather.ts')
  return gather(wanted)
}

async function fromFiles(files: readonly string[], container: string | null) {
  const { readStream } = await import('../manifests/manifest-stream.ts')
  const { manifestOf } = await import('../manifests/manifest.ts')
  const { factsOf } = await import('./installation.ts')
  const { objects } = await readStream(files)
  return factsOf(objects.map(manifestOf), container)
}
