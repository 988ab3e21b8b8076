import { appendFileSync, readFileSync } from 'node:fs'
import { type Fact, table } from '../harness/report.ts'
import { CASES, type Case, type CaseName } from './table.ts'

export interface FaultRecord {
  readonly name: CaseName
  readonly measured: string
  /** Milliseconds during which workloads of two terms executed at the same time. */
  readonly overlapMs: number
  /** Signs of life of a term after a later one had begun, even if the later workload was stopped at that time. */
  readonly late: number
  readonly lateMs: number
  readonly beats: number
}

/** The variable with the path of the file that the tests append their records to. Without it, they keep none. */
export const RECORDS = 'FAULT_TABLE_RECORDS'

export function record(one: FaultRecord): void {
  const file = process.env[RECORDS]
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(one)}\n`)
}

export function readRecords(file: string): FaultRecord[] {
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean)
  return lines.map((line) => JSON.parse(line) as FaultRecord)
}

/** One sentence for each failure. An empty list means that the run passed every case. */
export function shortcomings(records: readonly FaultRecord[]): string[] {
  return CASES.flatMap(({ name, wakesUp = false }) => {
    const record = records.find((one) => one.name === name)
    if (record === undefined) return [`${name}: failed or not played`]
    if (wakesUp) return []
    const { overlapMs, late } = record
    return [
      ...(overlapMs > 0 ? [`${name}: two replicas acted at the same time for ${overlapMs} ms`] : []),
      ...(late > 0 ? [`${name}: ${late} signs of life after a later term had begun`] : []),
    ]
  })
}

export function markdown(records: readonly FaultRecord[], facts: readonly Fact[]): string {
  const faults = [...new Set(CASES.map(({ fault }) => fault))]
  const wrong = shortcomings(records)
  const beats = records.reduce((sum, one) => sum + one.beats, 0)
  const woken = CASES.filter(({ wakesUp }) => wakesUp)
  const describeLate = (one: { readonly name: string }) => {
    const { late = 0, lateMs = 0 } = records.find(({ name }) => name === one.name) ?? {}
    return ` In “${one.name}”, LangFlow can wake up before its launcher, which then kills it: ${late} late signs of life, over ${lateMs.toFixed(1)} ms.`
  }
  return `${[
    '# Fault table',
    '`npm run test:faults` writes this page. It plays faults against the built program on a real etcd and kube-apiserver, with the rights of `deploy/langflow.yaml`. A case states the fault, **what must hold**, and *what this run measured*.',
    wrong.length === 0
      ? `Each case passed. Two replicas acted at the same time for **0 ms**, judged from ${beats} signs of life.${woken.map(describeLate).join('')}`
      : ['**This run missed:**', '', ...wrong.map((line) => `- ${line}`)].join('\n'),
    table(['measured on', ''], ['-', '-'], facts),
    HOW,
    ...faults.map((fault) => describeFault(fault, records)),
  ].join('\n\n')}\n`
}

const HOW = `- A replica is an agent and a container whose PID 1 is the launcher. Each has its own link to the API server. Killed means SIGKILL; frozen and hung mean SIGSTOP.
- Timings are the defaults (lease duration 15 s, renew deadline 10 s, retry period 2 s, kill margin 1 s, drain timeout 5 s), unless a case names others.
- LangFlow is a program that logs its identity, its epoch and the monotonic time every 10 ms. **Overlap is computed from that log alone.**
- *Acted until*, *dead* and *next holder* count from the last acknowledged renewal; *handover* is the time from the release to the next holder. *Undisturbed*: same process, same term, no doubt.
- A figure is from one run on a shared machine: an example, not a distribution ([benchmarks](benchmarks.md)).`

function describeFault(fault: string, records: readonly FaultRecord[]): string {
  const cases = CASES.filter((one) => one.fault === fault).map((one) => {
    const measured = records.find(({ name }) => name === one.name)?.measured
    return describeCase(one, measured ?? NOT_MEASURED)
  })
  return [`## ${fault}`, ...cases].join('\n\n')
}

export const NOT_MEASURED = 'not measured'

/** A section for one case. It isn't a row of a table, because most sentences are too long for a cell. */
export function describeCase({ name, done, must, clientGo }: Case, measured: string): string {
  const parts = [done, `**${must}**`, `*${measured.replaceAll(/\s*\n\s*/g, ' ')}*`]
  const peer = clientGo === undefined ? [] : [`(client-go: ${clientGo})`]
  const text = [...parts, ...peer].filter((part) => part !== undefined).join(' ')
  return `### ${name.charAt(0).toUpperCase()}${name.slice(1)}\n\n${text}`
}
