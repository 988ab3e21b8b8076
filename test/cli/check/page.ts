// npm run reference: writes the part of docs/check.md that describes all rules.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CATALOGUE } from '../../../agent/cli/check/check.ts'
import { withPart } from '../../bench/page-parts.ts'
import { MISTAKES } from './mistakes.ts'

export const PAGE = join(import.meta.dirname, '../../../docs/check.md')

/** The page with the current rules. */
export function checkPage(page: string): string {
  const groups = [...Map.groupBy(CATALOGUE, ({ group }) => group)].map(([group, rules]) => {
    const sections = rules.map(({ code, severity, about, fix }) => {
      const other = severity === 'error' ? 'warning' : 'error'
      const names = MISTAKES.filter((one) => one.code === code && one.severity === other).map(
        ({ name }) => name,
      )
      const exceptions = names.length === 0 ? '' : `; ${other} if ${names.join(', or if ')}`
      return `#### ${code}\n\n${about} (${severity}${exceptions})\n\n**Fix:** ${fix}`
    })
    return [`### ${group}`, ...sections].join('\n\n')
  })
  return withPart(page, 'codes, by npm run reference', groups.join('\n\n'))
}

if (import.meta.main) writeFileSync(PAGE, checkPage(readFileSync(PAGE, 'utf8')))
