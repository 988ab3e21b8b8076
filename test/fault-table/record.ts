import { appendFileSync, readFileSync } from 'node:fs'
import type { CaseName } from './table.ts'

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

const FILE = 'FAULT_TABLE_RECORDS'

/** Adds to the file that the run which made this process named; without one, nothing is kept. */
export function record(one: FaultRecord): void {
  const file = process.env[FILE]
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(one)}\n`)
}

export function recordsInto(file: string): NodeJS.ProcessEnv {
  return { [FILE]: file }
}

export function readRecords(file: string): FaultRecord[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as FaultRecord)
}
