import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { addFlags, choice, group, optional, readFlags, type Values } from '../../config/setting.ts'
import { parseNamespace } from '../../config/values.ts'
import { FatalError } from '../../exit.ts'
import { CLUSTER_SETTINGS, OUTPUT_SETTINGS } from '../cluster-settings.ts'
import { addFilenames } from '../manifests/manifest.ts'

// All LangFlows of the namespace are checked.
const { leaseName: _, ...OF_CLUSTER } = CLUSTER_SETTINGS

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
    ignore: {
      ...optional('<code>', 'no finding is ignored', 'a rule whose findings you accept; repeatable', (text) =>
        text.split(','),
      ),
      repeats: true as const,
    },
  }),
  ...OF_CLUSTER,
  ...OUTPUT_SETTINGS,
}

export function addCheck(program: Command): void {
  const command = program
    .command('check')
    .description(
      'check a cluster or manifests for mistakes that break the guarantees, a takeover or a rollout',
    )
  addFlags(addFilenames(command), CHECK_SETTINGS)
  addExamples(command, [
    ['Check a namespace', '-n langflow'],
    ['Check the manifests of a directory, without a cluster', '-f manifests/'],
    ['Check the output of helm, which the API server also validates (dry run)', '-f - -n langflow'],
    ['Accept the findings of a rule', '-f manifests/ --ignore local-files'],
  ])
  command.action(async () => {
    const options = readFlags(command, CHECK_SETTINGS)
    const { EXIT_CODES } = await import('../exit-codes.ts')
    const { operating, write } = await import('../output.ts')
    const { CATALOGUE, check } = await import('./check.ts')
    const { gather } = await import('./gather.ts')
    const { passes, report } = await import('./check-report.ts')
    const wrong = options.ignore?.find((code) => !CATALOGUE.some((rule) => rule.code === code))
    if (wrong !== undefined) command.error(`--ignore '${wrong}': no rule has this code; see docs/check.md`)
    const files: readonly string[] | undefined = command.getOptionValue('filename')
    await operating(options.output, async () => {
      const facts = files === undefined ? await gather(options) : await fromFiles(files, options)
      const verdict = check(facts, options.ignore ?? [])
      const ok = passes(verdict, options.failOn)
      await write(report(verdict, ok, options.output))
      if (!ok) process.exitCode = EXIT_CODES.failed
    })
  })
}

async function fromFiles(files: readonly string[], options: Values<typeof CHECK_SETTINGS>) {
  const { readStream } = await import('../manifests/manifest-stream.ts')
  const { manifestOf, titleOf } = await import('../manifests/manifest.ts')
  const { OperationError } = await import('../exit-codes.ts')
  const { factsOf } = await import('./facts.ts')
  const read = await readStream(files).catch((error: unknown) => {
    throw error instanceof FatalError ? new OperationError('wrong_input', error.message) : error
  })
  // As with kubectl apply, the last of several objects with one name counts.
  const named = read
    .map(manifestOf)
    .map((one) => [one.name ? `${one.value.apiVersion} ${one.namespace} ${titleOf(one)}` : one, one] as const)
  const facts = factsOf([...new Map(named).values()], options.container)
  // A flag that names a cluster lets its API server validate the objects.
  if ((options.leaseNamespace ?? options.kubeconfig ?? options.context) === null) return facts
  const { validate } = await import('./validation.ts')
  return { ...facts, refusals: await validate(facts.manifests, options) }
}
