import { styleText } from 'node:util'
import { oneLine } from '../../exit.ts'
import { type Format, formatted } from '../output.ts'
import type { Outcome, Result } from './check.ts'
import type { Severity } from './rule.ts'

export interface Summary {
  readonly ok: boolean
  readonly errors: number
  readonly warnings: number
  readonly unknown: number
}

/** Counts the findings. `ok`: no finding is as severe as `failOn`. */
export function summaryOf(results: readonly Result[], failOn: Severity): Summary {
  const count = (outcome: Outcome) =>
    results.flatMap(({ findings }) => findings).filter((one) => one.outcome === outcome).length
  const [errors, warnings] = [count('error'), count('warning')]
  return {
    ok: errors === 0 && (failOn === 'error' || warnings === 0),
    errors,
    warnings,
    unknown: count('unknown'),
  }
}

/** The results as text. The table has the form of `linkerd check`. */
export function report(results: readonly Result[], summary: Summary, format: Format): string {
  return formatted(format, { ...summary, checks: results }, () => asText(results, summary))
}

const MARKS = {
  ok: ['green', '√'],
  unknown: ['dim', '?'],
  warning: ['yellow', '‼'],
  error: ['red', '×'],
} as const satisfies Record<Outcome, unknown>

function asText(results: readonly Result[], summary: Summary): string {
  let text = ''
  for (const [group, rules] of Map.groupBy(results, (result) => result.group)) {
    text += `${styleText('bold', group)}\n${'-'.repeat(group.length)}\n`
    for (const { code, about, outcome, findings, details } of rules) {
      const [style, mark] = MARKS[outcome]
      text += `${styleText(style, mark)} ${about}${details.length > 0 ? ` (${details.join(', ')})` : ''}\n`
      for (const { outcome: own, object, message } of findings) {
        const other = own === outcome ? '' : `${MARKS[own][1]} `
        text += `    ${other}${oneLine(object === null ? message : `${object}: ${message}`)}\n`
      }
      if (findings.length > 0) text += `    ${styleText('dim', `code: ${code}`)}\n`
    }
    text += '\n'
  }
  const { errors, warnings, unknown } = summary
  const counted = [
    number(errors, 'error'),
    number(warnings, 'warning'),
    ...(unknown > 0 ? [`${unknown} unknown`] : []),
  ].join(', ')
  return `${text}${styleText(summary.ok ? 'green' : 'red', `${summary.ok ? '√' : '×'} ${counted}`)}\n`
}

function number(count: number, noun: string): string {
  return `${count === 0 ? 'no' : count} ${noun}${count === 1 ? '' : 's'}`
}
