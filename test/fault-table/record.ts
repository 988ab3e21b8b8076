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
