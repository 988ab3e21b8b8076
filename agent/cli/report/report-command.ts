import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { addFlags, group, optional, readFlags, type Values } from '../../config/setting.ts'
import { OPERATE_SETTINGS } from '../cluster-settings.ts'

const REPORT_SETTINGS = {
  ...group('Report', {
    file: optional(
      '<path>',
      'langflow-leader-report-<namespace>-<time>.txt',
      'the file to write, which must not exist; - for standard output',
      (text) => text,
    ),
  }),
  ...OPERATE_SETTINGS,
}

export function addReport(program: Command): void {
  const command = program
    .command('report')
    .description('write status, history, settings, Events and logs of langflow-leader into one text file')
  addFlags(command, REPORT_SETTINGS)
  addExamples(command, [
    ['Write a file for an issue or a colleague', '-n langflow'],
    ['Print the report', '--file - | less'],
  ])
  command.action(async () => {
    process.exitCode = await runReport(readFlags(command, REPORT_SETTINGS))
  })
}

/** Resolves to the exit code. */
async function runReport({ file, ...from }: Values<typeof REPORT_SETTINGS>): Promise<number> {
  const { systemClock } = await import('../../clock.ts')
  const { reasonOf } = await import('../../errno.ts')
  const { FatalError, print } = await import('../../exit.ts')
  const { Cluster } = await import('../cluster.ts')
  const { asOperationError, EXIT_CODES } = await import('../exit-codes.ts')
  const { write } = await import('../output.ts')
  const { sourceOf } = await import('../overview.ts')
  const { makeReport } = await import('./report.ts')
  using cluster = await Cluster.connect(from)
  using source = await sourceOf(from)
  const { leaseName, namespace, objects } = cluster
  const { text, parts, failures } = await makeReport({ leaseName, objects, source, clock: systemClock })
  // If no part can be read, the command fails like all others, with one sentence.
  if (parts === 0) throw asOperationError(failures[0])
  for (const { message } of failures) process.stderr.write(`langflow-leader: ${message}\n`)
  if (file === '-') await write(text)
  else {
    const time = new Date().toISOString().slice(0, 19).replaceAll(':', '')
    const path = file ?? `langflow-leader-report-${namespace}-${time}Z.txt`
    const { writeFile } = await import('node:fs/promises')
    await writeFile(path, text, { flag: 'wx', mode: 0o600 }).catch((error) => {
      const why = reasonOf(error, { EEXIST: 'the file exists: choose another --file' })
      throw new FatalError(`cannot write ${path}: ${why}`, { cause: error })
    })
    print(`wrote ${path}: ${parts} parts, ${failures.length} missing; read it before you share it\n`)
  }
  return failures.length === 0 ? EXIT_CODES.fine : EXIT_CODES.failed
}
