import type { Entry } from './check.ts'

/** One rule for a terminal. docs/check.md has the same texts. */
export function explained({ code, group, severity, about, breaks, fix, ofCluster }: Entry): string {
  return [
    `${code} (${group}; ${severity}${ofCluster ? ', only in a cluster' : ''})`,
    `Rule:        ${about}`,
    `If not:      ${breaks}`,
    `Fix:         ${fix}`,
    '',
  ].join('\n')
}
