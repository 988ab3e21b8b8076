import { spawnSync } from 'node:child_process'

export function hasPrometheus(): boolean {
  return ['prometheus', 'promtool'].every((one) => spawnSync(one, ['--version']).status === 0)
}
