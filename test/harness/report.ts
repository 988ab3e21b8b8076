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

/**
 * The time of one bcrypt with cost 12, which LangFlow's login takes, as a measure of the machine: the shortest of three, in ms,
 * by the C library's crypt(3). Throws if perl is missing.
 */
export function bcryptMs(): number {
  const script = '$t = time; crypt(shift, q($2b$12$abcdefghijklmnopqrstuu)) =~ /^.2b/ or die; print time - $t'
  const time = () =>
    Number(execFileSync('perl', ['-MTime::HiRes=time', '-e', script, 'x'], { encoding: 'utf8' }))
  return Math.round(Math.min(time(), time(), time()) * 1000)
}

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
    ['bcrypt, cost 12', `${bcryptMs()} ms`],
    ['memory', `${(totalmem() / 2 ** 30).toFixed(0)} GiB`],
    ['kernel', `${type()} ${release()}`],
    ['Node', process.version],
    ['kube-apiserver', `${version}, with one etcd without fsync, all on loopback`],
  ]
}
