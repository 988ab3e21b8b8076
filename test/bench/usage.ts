import { readFileSync, writeFileSync } from 'node:fs'

/** USER_HZ: clock ticks a second in /proc, the same on every architecture that Node runs on. */
const TICKS = 100

/** Resident memory (VmRSS) in MB of 10^6 bytes. Throws if the process is gone. */
export function residentMb(pid: number): number {
  return memoryMb(pid, 'VmRSS')
}

/** The peak of its resident memory since its start, or since `forgetPeak`. */
export function peakMb(pid: number): number {
  return memoryMb(pid, 'VmHWM')
}

export function forgetPeak(pid: number): void {
  // proc_pid_clear_refs(5)
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

function memoryMb(pid: number, what: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kib = new RegExp(`^${what}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]
  if (kib === undefined) throw new Error(`process ${pid} is gone`)
  return (Number(kib) * 1024) / 1e6
}

/** Processor time of all threads so far, user and system, in seconds with a resolution of 10 ms. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // Fields start after the name, which may contain any character: state is field 3, utime 14, stime 15 (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}
