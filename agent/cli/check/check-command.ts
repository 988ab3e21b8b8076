import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { addSettings, choice, flagOf, group, optional, readSettings } from '../../config/setting.ts'
import { parseNamespace } from '../../config/values.ts'
import { CLUSTER_SETTINGS, OUTPUT_SETTINGS } from '../cluster-settings.ts'
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
    failOn: choice(['error', 'warning'], 'the least severity of a finding that causes exit code 1'),
  }),
  ...CLUSTER_SETTINGS,
  leaseName: {
    ...CLUSTER_SETTINGS.leaseName,
    otherwise: 'every LangFlow in the namespace is checked',
    about: 'restrict the check to the LangFlow of this Lease',
  },
  ...OUTPUT_SETTINGS,
}

export function addCheck(program: Command): void {
  const command = program
    .command('check')
    .description('check a cluster or manifests for problems that prevent a takeover')
  addSettings(addFilenames(command), CHECK_SETTINGS)
  addExamples(command, [
    ['Check a namespace and its API server', '-n langflow'],
    ['Check manifests, without a cluster', '-f langflow.yaml'],
    ['Check the output of kustomize, in CI', '-f - --fail-on warning < manifests.yaml'],
    ['Print the findings as JSON', '-o json'],
  ])
  command.action(async () => {
    const { files, container, failOn, output, ...cluster } = readOptions(command)
    const { EXIT_CODES } = await import('../exit-codes.ts')
    const { operating, write } = await import('../output.ts')
    const { check } = await import('./check.ts')
    const { report, summaryOf } = await import('./check-report.ts')
    await operating(output, async () => {
      const facts = files === null ? fromCluster({ ...cluster, container }) : fromFiles(files, container)
      const results = check(await facts)
      const summary = summaryOf(results, failOn)
      await write(report(results, summary, output))
      if (!summary.ok) process.exitCode = EXIT_CODES.failed
    })
  })
}

/** The options. `files`: the manifests to check; `null` to check a cluster. Throws a usage error for a wrong value. */
function readOptions(command: Command) {
  const files = readFilenames(command)
  const useless = Object.keys(CLUSTER_SETTINGS).find((key) => command.getOptionValue(key) !== undefined)
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
