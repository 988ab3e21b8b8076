import { asText, isFields } from '../manifests/manifest.ts'

/** A container's log, as far as a report contains it. */
export interface OwnLines {
  readonly lines: readonly string[]
  /** Number of lines of other programs, which are left out. */
  readonly others: number
}

/**
 * The lines that the agent, the launcher or a front wrote. LangFlow's own lines, which may contain prompts, keys and values of an env
 * file, pass through the launcher unchanged, and are left out.
 */
export function ownLines(log: string): OwnLines {
  const all = log.split('\n').filter((line) => line !== '')
  const lines = all.filter(isOwn)
  return { lines, others: all.length - lines.length }
}

/** The form of `createLog`: these fields come first, in this order. */
function isOwn(line: string): boolean {
  if (!/^\{"level":"\w+","time":"[\d:.TZ-]+","component":"(agent|launcher|front)",/.test(line)) return false
  try {
    const fields: unknown = JSON.parse(line)
    return isFields(fields) && asText(fields.msg) !== ''
  } catch {
    return false
  }
}
