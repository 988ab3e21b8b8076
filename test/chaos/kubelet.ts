import { setTimeout as sleep } from 'node:timers/promises'
import { type Container, named, only, type PodSpec, plainManifests } from '../deploy/manifests.ts'
import { signalSame } from '../harness/faults/catalogue.ts'
import type { LoggedProcess } from '../harness/logged-process.ts'
import type { Pod } from '../harness/pod.ts'
import { ask } from '../harness/replica.ts'
import { mono } from '../harness/wait.ts'

type Part = 'agent' | 'container'

const SECOND_MS = 1_000

const SPEC = only(plainManifests('langflow.yaml'), 'Deployment').spec.template.spec as PodSpec
/** The kubelet's defaults for the fields of a probe. */
const DEFAULTS = {
  periodSeconds: 10,
  timeoutSeconds: 1,
  failureThreshold: 3,
  terminationGracePeriodSeconds: SPEC.terminationGracePeriodSeconds,
}
const CONTAINERS: Record<Part, Container> = {
  agent: named(SPEC.initContainers, 'agent'),
  container: named(SPEC.containers, 'langflow'),
}

/**
 * Delay before an ended container starts again. It doubles with each end, and is reset after the container has run for a
 * while. The real kubelet has 10 s to 5 min and a reset after 10 min, which is too long for a run of minutes.
 */
export const BACK_OFF = { firstMs: 500, longestMs: 4_000, resetAfterMs: 15_000 } as const

/** Restarts, probes and ends one pod as the kubelet does, by the probes and grace periods of `deploy/langflow.yaml`. */
export class Kubelet {
  readonly #pod: Pod
  readonly #started: (process: LoggedProcess, part: Part) => void
  readonly #ended = new AbortController()
  readonly #notBefore = { agent: 0, container: 0 }

  /** Requires a pod whose two processes have just been started. */
  constructor(pod: Pod, started: (process: LoggedProcess, part: Part) => void) {
    this.#pod = pod
    this.#started = started
    void this.#keep('agent')
    void this.#keep('container')
  }

  /** Prevents a start of the container within the next `ms`. */
  hold(part: Part, ms: number): void {
    this.#notBefore[part] = mono() + ms
  }

  /** Ends the pod as planned: first the LangFlow container, then the sidecar, with SIGKILL after the grace period. */
  async end(): Promise<void> {
    this.#ended.abort()
    const graceEnds = mono() + SPEC.terminationGracePeriodSeconds * SECOND_MS
    for (const part of ['container', 'agent'] as const) await this.#stop(part, graceEnds)
  }

  /** Kills all processes at one instant, as when a node is lost. */
  async kill(): Promise<void> {
    this.#ended.abort()
    this.#signal('agent', 'SIGKILL')
    this.#signal('container', 'SIGKILL')
    await Promise.all([this.#pod.agent.gone, this.#pod.container.gone])
    this.#pod.agent.process.stdout?.resume()
  }

  async #keep(part: Part): Promise<void> {
    let backOffMs: number = BACK_OFF.firstMs
    for (;;) {
      const process = this.#pod[part]
      this.#started(process, part)
      const began = mono()
      const over = new AbortController()
      void this.#probe(part, process, AbortSignal.any([over.signal, this.#ended.signal]))
      await process.gone
      over.abort()
      if (mono() - began >= BACK_OFF.resetAfterMs) backOffMs = BACK_OFF.firstMs
      await this.#pause(backOffMs)
      backOffMs = Math.min(backOffMs * 2, BACK_OFF.longestMs)
      await this.#pause(this.#notBefore[part] - mono())
      if (this.#ended.signal.aborted) return
      if (part === 'agent') this.#pod.startAgent()
      else this.#pod.startContainer()
    }
  }

  async #pause(ms: number): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal: this.#ended.signal }).catch(() => {})
  }

  /** Runs the startup probe until it succeeds once, then the liveness probe. */
  async #probe(part: Part, process: LoggedProcess, signal: AbortSignal): Promise<void> {
    const { startupProbe, livenessProbe } = CONTAINERS[part]
    for (const probe of [startupProbe, livenessProbe]) {
      if (probe === undefined) continue
      const set = { ...DEFAULTS, ...probe }
      const { periodSeconds, timeoutSeconds, failureThreshold } = set
      for (let failures = 0; failures < failureThreshold; ) {
        await sleep(periodSeconds * SECOND_MS, undefined, { signal }).catch(() => {})
        if (signal.aborted) return
        const ok = await this.#succeeds(probe.httpGet.path, timeoutSeconds * SECOND_MS)
        if (signal.aborted) return
        if (ok && probe === startupProbe) break
        failures = ok ? 0 : failures + 1
        if (failures < failureThreshold) continue
        await this.#stop(part, mono() + set.terminationGracePeriodSeconds * SECOND_MS, process)
        return
      }
    }
  }

  async #succeeds(path: string, timeoutMs: number): Promise<boolean> {
    const answer = await ask(this.#pod.httpPort, path, timeoutMs).catch(() => undefined)
    return answer !== undefined && answer.status >= 200 && answer.status < 400
  }

  /** Sends SIGTERM, and SIGKILL at `killAt`. Resolves when the process has ended. */
  async #stop(part: Part, killAt: number, process = this.#pod[part]): Promise<void> {
    this.#signal(part, 'SIGTERM')
    const grace = setTimeout(() => this.#signal(part, 'SIGKILL'), killAt - mono())
    await process.gone
    clearTimeout(grace)
  }

  /** Signals the agent, or PID 1 of the LangFlow container. The kubelet can't signal a container's other processes. */
  #signal(part: Part, signal: 'SIGTERM' | 'SIGKILL'): void {
    const process = this.#pod[part]
    if (process.ended) return
    if (part === 'agent') {
      process.signal(signal)
      return
    }
    const launcher = this.#pod.tree()?.launcher
    if (launcher === undefined) process.signal(signal)
    else signalSame(launcher, signal)
  }
}
