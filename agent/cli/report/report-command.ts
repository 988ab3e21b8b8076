import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { addFlags, group, onOff, optional, readFlags, type Values } from '../../config/setting.ts'
import { OPERATE_SETTINGS } from '../cluster-settings.ts'

const REPORT_SETTINGS = {
  ...group('Report', {
    file: optional(
      '<path>',
      'langflow-leader-report-<namespace>-<time>.txt',
      'the file to write, which must not exist; - for standard output',
      (text) => text,
    ),
    langflowLogs: onOff(
      "include LangFlow's own log lines, which may contain secrets that cannot be recognised",
    ),
  }),
  ...OPERATE_SETTINGS,
}

export function addReport(program: Command): void {
  const command = program
    .command('report')
    .description(
      'write status, history, check, Events, logs and manifests into one text file, without secrets',
    )
  addFlags(command, REPORT_SETTINGS)
  addExamples(command, [
    ['Write a file for an issue or a colleague', '-n langflow'],
    ['Print the report', '--file - | less'],
  ])
  command.action(async () => {
    process.exitCode = await runReport(readFlags(command, REPORT_SETTINGS))
    // Requests of a part that was too late would keep the process alive.
    if (process.exitCode !== 0) process.exit()
  })
}

/** Resolves to the exit code. */
async function runReport({ file, langflowLogs, ...from }: Values<typeof REPORT_SETTINGS>): Promise<number> {
  const { systemClock } = await import('../../clock.ts')
  const { oneLine, print } = await import('../../exit.ts')
  const { POD } = await import('../../kube/kube-objects.ts')
  const { DEADLINE_MS } = await import('../api-connection.ts')
  const { Cluster } = await import('../cluster.ts')
  const { EXIT_CODES, OperationError } = await import('../exit-codes.ts')
  const { write } = await import('../output.ts')
  const { sourceOf } = await import('../overview.ts')
  const { makeReport } = await import('./report.ts')
  using cluster = await Cluster.connect(from)
  const { leaseName, namespace, objects } = cluster
  // If the API server answers neither of them, the command fails like all others, with one sentence.
  const [lease, pods] = await Promise.allSettled([cluster.lease(), cluster.objects.list(POD, DEADLINE_MS)])
  if (lease.status === 'rejected' && lease.reason.code === 'no_namespace') throw lease.reason
  if (from.url === null && lease.status === 'rejected' && pods.status === 'rejected') throw lease.reason
  using source = await sourceOf(from)
  const check = () => checkAsText({ ...from, leaseName, leaseNamespace: namespace })
  const report = await makeReport({ leaseName, objects, source, check, clock: systemClock, langflowLogs })
  for (const sentence of report.missing) process.stderr.write(`langflow-leader: ${oneLine(sentence)}\n`)
  if (report.parts === 0)
    throw new OperationError('unreachable', 'no part of the report could be read: nothing was written')
  if (file === '-') await write(report.text)
  else {
    const { writeReport } = await import('./report-file.ts')
    const time = new Date().toISOString().slice(0, 19).replaceAll(':', '')
    const path = file ?? `langflow-leader-report-${namespace}-${time}Z.txt`
    await writeReport(path, report.text)
    print(
      `wrote ${path}: ${report.parts} parts, ${report.missing.length} missing; read it before you share it\n`,
    )
  }
  return report.missing.length === 0 ? EXIT_CODES.fine : EXIT_CODES.failed
}

async function checkAsText(at: Omit<Values<typeof OPERATE_SETTINGS>, 'url'>): Promise<string> {
  const { check } = await import('../check/check.ts')
  const { report, summaryOf } = await import('../check/check-report.ts')
  const { gather } = await import('../check/gather.ts')
  const results = check(await gather({ ...at, container: null }))
  return report(results, summaryOf(results, 'error'), 'table')
}
