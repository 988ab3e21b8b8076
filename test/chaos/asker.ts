import { Agent, request } from 'undici'

/** Asks agents over HTTP, for the probes of the kubelets and for the judge. */
export class Asker {
  readonly #dispatcher = new Agent()
  readonly #over = new AbortController()

  /** The answer; `undefined`: none came within `timeoutMs`, or nobody listens. */
  async ask(
    port: number,
    path: string,
    timeoutMs: number,
  ): Promise<{ readonly status: number; readonly text: string } | undefined> {
    const signal = AbortSignal.any([this.#over.signal, AbortSignal.timeout(timeoutMs)])
    try {
      const options = { dispatcher: this.#dispatcher, signal }
      const { statusCode, body } = await request(`http://127.0.0.1:${port}${path}`, options)
      return { status: statusCode, text: await body.text() }
    } catch {
      return undefined
    }
  }

  /** Whatever is still asked has no answer. */
  async close(): Promise<void> {
    this.#over.abort()
    await this.#dispatcher.destroy()
  }
}
