import { ApiError } from '../../kube/errors.ts'
import type { KubeObject, KubeObjects } from '../../kube/objects.ts'
import { asOperationError } from '../exit-codes.ts'
import { markdownOf } from './markdown.ts'
import type { Report } from './report.ts'

const CONFIG_MAP = { kind: 'ConfigMap', resource: 'configmaps', base: '/api/v1' } as const
const DEADLINE_MS = 5_000
const ATTEMPTS = 5
/** How many reports are kept, and bytes of them: a ConfigMap takes 1 MiB with everything that belongs to it. */
const MOST_REPORTS = 12
const MOST_BYTES = 900 * 1024

/** Rejects with an `OperationError` where there is no such ConfigMap, or it may not be read. */
export async function find(objects: Pick<KubeObjects, 'get'>, name: string): Promise<void> {
  await objects.get(CONFIG_MAP, name, DEADLINE_MS).catch((error) => {
    throw asOperationError(error)
  })
}

/** Adds a report, as Markdown and as JSON, to a ConfigMap that exists; the oldest go. Rejects with an `OperationError`. */
export async function keep(
  objects: Pick<KubeObjects, 'get' | 'update'>,
  name: string,
  report: Report,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      const found: KubeObject = await objects.get(CONFIG_MAP, name, DEADLINE_MS)
      const data = withReport((found.data ?? {}) as Record<string, string>, report)
      await objects.update(CONFIG_MAP, { ...found, data }, DEADLINE_MS)
      return
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 'conflict') || attempt === ATTEMPTS)
        throw asOperationError(error)
    }
  }
}

/** The data of the ConfigMap with one report more: `<when it began>.md` and `.json`. */
export function withReport(data: Readonly<Record<string, string>>, report: Report): Record<string, string> {
  const when = report.began.replace(/\.\d+Z$/, 'Z').replaceAll(':', '-')
  const all: Record<string, string> = {
    ...data,
    [`${when}.md`]: markdownOf(report),
    [`${when}.json`]: JSON.stringify(report),
  }
  const kept: Record<string, string> = {}
  const reports = new Set<string>()
  let bytes = 0
  // What begins with the time is in the order of time; what somebody else wrote stays.
  const newestFirst = Object.entries(all).sort(([a], [b]) => (a < b ? 1 : -1))
  for (const [key, text] of newestFirst) {
    const [, time] = /^(\d{4}-\d\d-\d\dT[\d-]+Z)\.(?:md|json)$/.exec(key) ?? []
    if (time !== undefined) {
      bytes += Buffer.byteLength(text) + key.length
      reports.add(time)
      if (reports.size > MOST_REPORTS || bytes > MOST_BYTES) continue
    }
    kept[key] = text
  }
  return kept
}
