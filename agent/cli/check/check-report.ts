import { type Format, formatted } from '../output.ts'
import type { Finding, Verdict } from './check.ts'

export function passes({ findings, unknown }: Verdict, failOn: Finding['severity'] | 'unknown'): boolean {
  if (failOn === 'unknown') return findings.length + unknown.length === 0
  return !findings.some(({ severity }) => failOn === 'warning' || severity === 'error')
}

export function report(verdict: Verdict, ok: boolean, format: Format): string {
  return formatted(format, { ok, ...verdict }, () => linesOf(verdict, ok))
}

function linesOf({ findings, unknown, ignored }: Verdict, ok: boolean): string[] {
  const lines = [...Map.groupBy(findings, ({ code }) => code)].flatMap(([code, found]) => [
    ...found.map(({ severity, object, message }) => {
      const sentence = object === null ? message : `${object}: ${message}`
      return `${severity === 'error' ? '×' : '‼'} ${sentence} [${code}]`
    }),
    `  ${found[0]!.fix}`,
  ])
  for (const { cause, codes } of unknown)
    lines.push(
      `? ${cause}: ${count(codes.length, 'rule')} not judged${codes.length > 4 ? '' : ` (${codes.join(', ')})`}`,
    )
  const errors = findings.filter(({ severity }) => severity === 'error').length
  const total = [count(errors, 'error'), count(findings.length - errors, 'warning')]
  if (ignored > 0) total.push(`${ignored} ignored`)
  return [...lines, `${ok ? '√' : '×'} ${total.join(', ')}`]
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
