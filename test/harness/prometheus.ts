import { spawnSync } from 'node:child_process'

/** Whether Debian's package `prometheus` is installed, which includes promtool. */
export function hasPrometheus(): boolean {
  return ['prometheus', 'promtool'].every((one) => spawnSync(one, ['--version']).status === 0)
}
