/** As deploy/base sets it for the LangFlow container; failures as the kubelet's default. */
const PERIOD_MS = 5_000
const TIMEOUT_MS = 3_000
const FAILURES = 3
/** From SIGTERM to SIGKILL, once the probe has failed. */
export const GRACE_MS = 5_000

/** The kubelet's liveness probe in small. */
export class LivenessProbe {
  /** Resolves once the probe has failed three times in a row: the kubelet would kill the container now. */
  readonly failed: Promise<void>

  constructor(succeeds: () => Promise<boolean>) {
    this.failed = this.#probe(succeeds)
  }

  async #probe(succeeds: () => Promise<boolean>): Promise<void> {
    for (let failures = 0; failures < FAILURES; ) {
      await new Promise((resolve) => setTimeout(resolve, PERIOD_MS))
      const late = new Promise<boolean>((resolve) => setTimeout(resolve, TIMEOUT_MS, false))
      failures = (await Promise.race([succeeds().catch(() => false), late])) ? 0 : failures + 1
    }
  }
}
