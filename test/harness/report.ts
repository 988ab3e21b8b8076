import { execFileSync, spawnSync } from 'node:child_process'
import { cpus, release, totalmem, type } from 'node:os'
import { join } from 'node:path'
import { controlPlaneAssets } from './control-plane.ts'

/** A Markdown table. `align` holds the cells of its second line, e.g. `-` or `-:`. */
export function table(
  head: readonly string[],
  align: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cellText).join(' | ')} |`
  return [line(head), line(align), ...rows.map(line)].join('\n')
}

function cellText(cell: string): string {
  return cell.replaceAll('|', '\\|').replaceAll(/\s*\n\s*/g, ' ')
}

export type Fact = readonly [name: string, value: string]

export function machineFacts(): Fact[] {
  const server = join(controlPlaneAssets(), 'kube-apiserver')
  const version = execFileSync(server, ['--version'], { encoding: 'utf8' }).trim().split(' ').at(-1)
  const processors = cpus()
  const git = ['-c', 'safe.directory=*', 'rev-parse', '--short=8', 'HEAD']
  const commit = spawnSync('git', git, { encoding: 'utf8' }).stdout?.trim()
  return [
    ['commit', commit || 'unknown'],
    ['date', new Date().toISOString().slice(0, 16).replace('T', ' ').concat(' UTC')],
    ['cores', `${processors.length} (${processors[0]?.model.trim() || 'model unknown'})`],
    ['memory', `${(totalmem() / 2 ** 30).toFixed(0)} GiB`],
    ['kernel', `${type()} ${release()}`],
    ['Node', process.version],
    ['kube-apiserver', `${version}, with one etcd without fsync, all on loopback`],
  ]
}
