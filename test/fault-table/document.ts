import { appendFileSync, readFileSync } from 'node:fs'
import { type Fact, table } from '../harness/report.ts'
import { CASES, type CaseName } from './table.ts'

/** What one case showed. */
export interface FaultRecord {
  readonly name: CaseName
  readonly measured: string
  /** Milliseconds during which workloads of two terms executed at once. */
  readonly overlapMs: number
  /** Signs of life of a term after a later one had begun: also where that one stood still. */
  readonly late: number
  /** From the first to the last of them. */
  readonly lateMs: number
  /** Signs of life that were judged. */
  readonly beats: number
}

/** The variable in which a run names the file that its tests add their records to; without it nothing is kept. */
export const RECORDS = 'FAULT_TABLE_RECORDS'

export function record(one: FaultRecord): void {
  const file = process.env[RECORDS]
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(one)}\n`)
}

export function readRecords(file: string): FaultRecord[] {
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean)
  return lines.map((line) => JSON.parse(line) as FaultRecord)
}

const HEAD = ['case', 'done', 'must hold', 'measured', 'client-go']

/** One sentence for each thing that went wrong; none: the run came through every case. */
export function shortcomings(records: readonly FaultRecord[]): string[] {
  return CASES.flatMap(({ name, wakesUp = false }) => {
    const record = records.find((one) => one.name === name)
    if (record === undefined) return [`${name}: failed, or was not played`]
    if (wakesUp) return []
    const { overlapMs, late } = record
    return [
      ...(overlapMs > 0 ? [`${name}: two acted at once for ${overlapMs} ms`] : []),
      ...(late > 0 ? [`${name}: acted ${late} times after a later term had begun`] : []),
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
    return `; but for “${one.name}”: ${late} after a later term had begun, ${lateMs.toFixed(1)} ms from the first to the last of them, see below`
  }
  return `${[
    '# Fault table',
    'Written by `npm run test:faults`: the built program on a real etcd and kube-apiserver, with the rights of `deploy/base`. What is done to it, what must hold, what this run measured, and what client-go does in that very case, where the project measured it.',
    wrong.length === 0
      ? `Each case was played once, and each came through. Two replicas acted at once for **0 ms**, judged from ${beats} signs of life${woken.map(describeLate).join('')}.`
      : ['**Missed in this run:**', '', ...wrong.map((line) => `- ${line}`)].join('\n'),
    table(['measured on', ''], ['-', '-'], facts),
    HOW,
    ...faults.map((fault) => describeFault(fault, records)),
    REPRODUCE,
  ].join('\n\n')}\n`
}

const HOW = `- A replica is an agent, and a container whose PID 1 is the launcher, with tini below it, as in a pod (both in one tree where a row names \`run\`); each reaches the API server over a link of its own, which can be cut, held, reset and delayed. Timings are the defaults (Lease 15 s, renew deadline 10 s, retry period 2 s, kill margin 1 s, drain timeout 5 s, stop timeout 30 s), but for rows that name others: one each of T8, T14 and T15.
- LangFlow is a program that writes who it is, its epoch and the monotonic time to a shared log every 10 ms while it executes. **Overlap is computed from that log alone**: between the first and the last sign of life of one term nobody else may show any, nor a term any after a later one has begun.
- The exception is a process that was stopped from outside and woke up under a later term (a suspended machine): nothing can run before it. Such a case is named above with what it did then.
- T14 has each stage that lasts; the simulation tells a replica to end while it acquires or releases the Lease, too.
- A figure is one run on a shared machine: an example, not a distribution. \`docs/evidence/benchmarks.md\` has distributions.`

const REPRODUCE = `## How to reproduce

\`\`\`sh
npm ci
npm run test:faults
\`\`\`

It needs etcd, kube-apiserver and kubectl in \`$KUBEBUILDER_ASSETS\`, and tini, openssl and Python 3; Linux, and root
or unprivileged user namespaces. It ends with exit code 1 where a case does not come through.`

function describeFault(fault: string, records: readonly FaultRecord[]): string {
  const rows = CASES.filter((one) => one.fault === fault).map(({ name, done, must, clientGo }) => {
    const measured = records.find((one) => one.name === name)?.measured ?? '**nothing**'
    return [name, done, must, measured, clientGo ?? '']
  })
  return `## ${fault}\n\n${table(
    HEAD,
    HEAD.map(() => '-'),
    rows,
  )}`
}
