import { spawnSync } from 'node:child_process'

/** Of Debian's package `prometheus`, with promtool. */
export function hasPrometheus(): boolean {
  return ['prometheus', 'promtool'].every((one) => spawnSync(one, ['--version']).status === 0)
}
