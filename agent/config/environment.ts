import type { Command } from 'commander'
import { variableOf } from './setting.ts'

/** What LangFlow's environment is given; a command that is run from there finds them. */
const GIVEN_TO_LANGFLOW = ['LEADER_EPOCH', 'LEADER_IDENTITY']

/** Kubernetes adds such variables for every Service in the namespace, so also for one named `leader-…`. */
const SERVICE_LINK =
  /^LEADER(?:_[A-Z0-9_]+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/

/**
 * The sentence for a `LEADER_*` variable that no command of the program knows; `null` where there is none. A typo
 * would otherwise leave a default in force without a word.
 */
export function unknownVariable(program: Command, env: NodeJS.ProcessEnv): string | null {
  const known = new Set([...GIVEN_TO_LANGFLOW, ...variablesOf(program)])
  const names = Object.keys(env).sort()
  const unknown = names.find(
    (name) => name.startsWith('LEADER_') && !known.has(name) && !SERVICE_LINK.test(name),
  )
  if (unknown === undefined) return null
  const near = nearest(unknown, known)
  return `unknown environment variable ${unknown} ${near ? `(did you mean ${near}?)` : 'in a prefix that is kept for this program; remove it'}`
}

function variablesOf(command: Command): string[] {
  const own = command.options.flatMap(({ long }) => (long ? [variableOf(long)] : []))
  return [...own, ...command.commands.flatMap(variablesOf)]
}

/** The candidate with the fewest edits, if they are few enough to be a typo. */
function nearest(name: string, candidates: Iterable<string>): string | null {
  let best: string | null = null
  let fewest = 4
  for (const candidate of candidates) {
    const edits = editDistance(name, candidate)
    if (edits < fewest) [best, fewest] = [candidate, edits]
  }
  return best
}

/** Levenshtein's distance, a row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, replaced))
    }
    row = next
  }
  return row[b.length]!
}
