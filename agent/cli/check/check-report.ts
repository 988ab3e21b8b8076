import { styleText } from 'node:util'
import { oneLine } from '../../exit.ts'
import { formatted } from '../output.ts'
import type { Finding, Outcome, Result } from './check.ts'

export interface Summary {
  readonly ok: boolean
  readonly errors: number
  readonly warnings: number
  readonly unknown: number
}

/** The least severe finding that makes a check fail. */
export type FailOn = Exclude<Outcome, 'ok'>

/** Counts the findings. `ok`: no finding is as severe as `failOn`. */
export function summaryOf(results: readonly Result[], failOn: FailOn): Summary {
  const count = (outcome: Outcome) =>
    results.flatMap(({ findings }) => findings).filter((one) => one.outcome === outcome).length
  const [errors, warnings, unknown] = [count('error'), count('warning'), count('unknown')]
  const failing = { error: errors, warning: errors + warnings, unknown: errors + warnings + unknown }
  return { ok: failing[failOn] === 0, errors, warnings, unknown }
}

/** The results as text. The table has the form of `linkerd check`. */
export function report(
  results: readonly Result[],
  summary: Summary,
  format: 'table' | 'short' | 'json' | 'yaml',
): string {
  if (format === 'short') return `${shortLines(results)}${total(summary)}\n`
  return formatted(format, { ...summary, checks: results }, () => `${table(results)}${total(summary)}\n`)
}

const MARKS = {
  ok: ['green', '√'],
  unknown: ['dim', '?'],
  warning: ['yellow', '‼'],
  error: ['red', '×'],
} as const satisfies Record<Outcome, unknown>

function marked(outcome: Outcome): string {
  const [style, mark] = MARKS[outcome]
  return styleText(style, mark)
}

function sentence({ object, message }: Finding): string {
  return oneLine(object === null ? message : `${object}: ${message}`)
}

function table(results: readonly Result[]): string {
  let text = ''
  for (const [group, rules] of Map.groupBy(results, (result) => result.group)) {
    text += `${styleText('bold', group)}\n${'-'.repeat(group.length)}\n`
    for (const { code, about, outcome, findings, details } of rules) {
      text += `${marked(outcome)} ${about}${details.length > 0 ? ` (${details.join(', ')})` : ''}\n`
      for (const finding of findings) {
        const other = finding.outcome === outcome ? '' : `${MARKS[finding.outcome][1]} `
        text += `    ${other}${sentence(finding)}\n`
      }
      if (findings.length > 0) text += `    ${styleText('dim', `code: ${code}`)}\n`
    }
    text += '\n'
  }
  return text
}

/** One line for each finding. */
function shortLines(results: readonly Result[]): string {
  return results
    .flatMap(({ code, findings }) =>
      findings.map((finding) => `${marked(finding.outcome)} ${sentence(finding)} (${code})\n`),
    )
    .join('')
}

function total({ ok, errors, warnings, unknown }: Summary): string {
  const counted = [
    number(errors, 'error'),
    number(warnings, 'warning'),
    ...(unknown > 0 ? [`${unknown} unknown`] : []),
  ].join(', ')
  return styleText(ok ? 'green' : 'red', `${ok ? '√' : '×'} ${counted}`)
}

function number(count: number, noun: string): string {
  return `${count === 0 ? 'no' : count} ${noun}${count === 1 ? '' : 's'}`
}
