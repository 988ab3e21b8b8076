import { execFileSync } from 'node:child_process'
import { cpus, release, totalmem, type } from 'node:os'
import { join } from 'node:path'
import { controlPlaneAssets } from './control-plane.ts'

/** A Markdown table; `align` holds its second line, e.g. `-` or `-:`. */
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

/** What is told of a sample. Percentiles are nearest-rank: each is a value that was really measured. */
export interface Summary {
  readonly n: number
  readonly min: number
  readonly median: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

/**
 * The smallest value that at least `share` of all values do not exceed. `share`: above 0, up to 1. Throws a
 * RangeError where there are no values.
 */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const found = sorted[Math.ceil(sorted.length * share) - 1]
  if (found === undefined) throw new RangeError('no values to take a percentile of')
  return found
}

export function summarise(values: readonly number[]): Summary {
  return {
    n: values.length,
    min: Math.min(...values),
    median: percentile(values, 0.5),
    p95: percentile(values, 0.95),
    p99: percentile(values, 0.99),
    max: Math.max(...values),
  }
}

/** A page that several programs write, each its own part of it, between two comments that nobody sees. */
const begin = (name: string) => `<!-- ${name}: begin -->`
const end = (name: string) => `<!-- ${name}: end -->`

/** A part of a page with its marks; `undefined`: the page has none of that name. */
export function partOf(page: string, name: string): string | undefined {
  const from = page.indexOf(begin(name))
  const to = page.indexOf(end(name), from)
  return from < 0 || to < 0 ? undefined : page.slice(from, to + end(name).length)
}

/** The page with this part instead of the one it had, or at its end where it had none. */
export function withPart(page: string, name: string, text: string): string {
  const part = `${begin(name)}\n\n${text.trim()}\n\n${end(name)}`
  const old = partOf(page, name)
  if (old !== undefined) return page.replace(old, () => part)
  return page.trim() === '' ? `${part}\n` : `${page.trimEnd()}\n\n${part}\n`
}

/** A page written anew, with the part that its predecessor had. */
export function keepingPart(page: string, predecessor: string, name: string): string {
  const part = partOf(predecessor, name)
  return part === undefined ? page : `${page.trimEnd()}\n\n${part}\n`
}

export type Fact = readonly [name: string, value: string]

/** On what and when something was measured against a real control plane. */
export function machineFacts(): Fact[] {
  const server = join(controlPlaneAssets(), 'kube-apiserver')
  const version = execFileSync(server, ['--version'], { encoding: 'utf8' }).trim().split(' ').at(-1)
  const processors = cpus()
  return [
    ['date', new Date().toISOString().slice(0, 16).replace('T', ' ').concat(' UTC')],
    ['cores', `${processors.length} (${processors[0]?.model.trim() || 'model unknown'})`],
    ['memory', `${(totalmem() / 2 ** 30).toFixed(0)} GiB`],
    ['kernel', `${type()} ${release()}`],
    ['Node', process.version],
    ['kube-apiserver', `${version}, with one etcd without fsync, all on loopback`],
  ]
}
