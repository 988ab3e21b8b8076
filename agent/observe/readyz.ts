import type { Check, StatusSource } from './status.ts'

export interface Readiness {
  readonly ok: boolean
  /** What kube-apiserver's own `/readyz` would say, with a newline at the end. */
  readonly text: string
}

/** The only check that can be left out: then a follower that could take over is ready as well. */
const EXCLUDABLE = 'leadership'

/** Answers `/readyz`. What is excluded and unknown only earns a warning, as in kube-apiserver. */
export function readiness(source: StatusSource, verbose: boolean, excluded: readonly string[]): Readiness {
  const anyRole = excluded.includes(EXCLUDABLE)
  const ok = anyRole ? source.couldServe() : source.ready()
  if (ok && !verbose) return { ok, text: 'ok\n' }
  const { checks } = source.status()
  const lines = checks.map((check) => line(check, anyRole && (ok || check.name === EXCLUDABLE)))
  const foreign = excluded.filter((name) => name !== EXCLUDABLE)
  if (foreign.length > 0)
    lines.push(`warn: some health checks cannot be excluded: no matches for ${quoted(foreign)}`)
  lines.push(`readyz check ${ok ? 'passed' : 'failed'}`)
  return { ok, text: `${lines.join('\n')}\n` }
}

/** `waived`: not required, because whoever asks also wants a follower that could take over. */
function line(check: Check, waived: boolean): string {
  if (check.ok) return `[+]${check.name} ok`
  return waived
    ? `[+]${check.name} excluded: ok`
    : `[-]${check.name} failed: ${check.detail.replace(/\s+/g, ' ')}`
}

/** Shown with nothing in it but what a check's name can consist of, for whoever displays it. */
function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name.replace(/[^\w.-]/g, '?').slice(0, 40)}"`).join(',')
}
