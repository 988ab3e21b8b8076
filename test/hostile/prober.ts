import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'

const PROBE_EVERY_MS = 100
/** As long as the kubelet waits for an answer, to its last byte. */
const PROBE_WITHIN_MS = 1000

/** Probes as the kubelet does: each time on a new connection. Tells how long the answers took, in ms. */
export class Prober {
  readonly tookMs: number[] = []
  readonly failures: string[] = []
  /** The most failures in a row, answers that did not come in time among them. */
  unreadyAfter = 0
  private inARow = 0
  private asking = true
  private readonly done: Promise<void>

  constructor(port: number, path: string) {
    this.done = this.run(port, path)
  }

  private async run(port: number, path: string): Promise<void> {
    while (this.asking) {
      const from = performance.now()
      const failure = await askOnce(port, path).then(
        (status) => (status === 200 ? undefined : `status ${status}`),
        (error: NodeJS.ErrnoException) => error.code ?? error.message,
      )
      const took = performance.now() - from
      if (failure === undefined) this.tookMs.push(took)
      else this.failures.push(failure)
      this.inARow = failure === undefined && took < PROBE_WITHIN_MS ? 0 : this.inARow + 1
      this.unreadyAfter = Math.max(this.unreadyAfter, this.inARow)
      await new Promise((resolve) => setTimeout(resolve, PROBE_EVERY_MS))
    }
  }

  async end(): Promise<void> {
    this.asking = false
    await this.done
  }
}

async function askOnce(port: number, path: string): Promise<number> {
  const signal = AbortSignal.timeout(PROBE_WITHIN_MS)
  const call = request({ host: '127.0.0.1', port, path, agent: false, signal })
  call.end()
  const [response] = (await once(call, 'response')) as [IncomingMessage]
  await text(response)
  return response.statusCode as number
}
