import { readFileSync } from 'node:fs'

const SAMPLE_MS = 50

/** How much more memory processes came to hold than when the watch began, in MiB. */
export class MemoryWatch {
  private readonly pids: { agent: number; launcher: number }
  private readonly before: { agent: number; launcher: number }
  private readonly peak: { agent: number; launcher: number }
  private readonly timer: NodeJS.Timeout

  constructor(pids: { agent: number; launcher: number }) {
    this.pids = pids
    this.before = { agent: residentMiB(pids.agent), launcher: residentMiB(pids.launcher) }
    this.peak = { ...this.before }
    this.timer = setInterval(() => this.sample(), SAMPLE_MS)
  }

  private sample(): void {
    for (const name of ['agent', 'launcher'] as const)
      this.peak[name] = Math.max(this.peak[name], residentMiB(this.pids[name]))
  }

  end(): { agent: number; launcher: number } {
    this.sample()
    clearInterval(this.timer)
    return { agent: this.peak.agent - this.before.agent, launcher: this.peak.launcher - this.before.launcher }
  }
}

/** The most that a process has held since it began, by the kernel's own count. */
export function mostResidentMiB(pid: number): number {
  return statusMiB(pid, 'VmHWM')
}

function residentMiB(pid: number): number {
  return statusMiB(pid, 'VmRSS')
}

function statusMiB(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(status)?.[1]) / 1024
}
