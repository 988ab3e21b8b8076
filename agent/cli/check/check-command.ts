import type { Command } from 'commander'
import { checkOptions } from './check-settings.ts'

export function addCheck(program: Command): void {
  const command = program
    .command('check')
    .description('tell what would keep failover from working, in a cluster or in manifests')
  const read = checkOptions(command)
  command.action(async () => {
    const options = read(process.env)
    const { EXIT_CODES } = await import('../exit-codes.ts')
    const { operating, paintFor, write } = await import('../output.ts')
    const { check } = await import('./check.ts')
    const { report, summaryOf } = await import('./check-report.ts')
    await operating(options.output, async () => {
      const results = check(
        await (options.files === null ? fromCluster(options) : fromFiles(options.files, options)),
      )
      const summary = summaryOf(results, options.failOn)
      await write(report(results, summary, options.output, paintFor(process.stdout)))
      if (!summary.ok) process.exitCode = EXIT_CODES.failed
    })
  })
}

type Options = ReturnType<ReturnType<typeof checkOptions>>

async function fromFiles(files: readonly string[], { container }: Options) {
  const { readStream } = await import('../manifests/manifest-stream.ts')
  const { manifestOf } = await import('../manifests/manifest.ts')
  const { factsOf } = await import('./installation.ts')
  const { objects } = await readStream(files)
  return factsOf(objects.map(manifestOf), container)
}

async function fromCluster({ cluster, container }: Options) {
  const { gather } = await import('./gather.ts')
  return gather({ ...cluster, container })
}
