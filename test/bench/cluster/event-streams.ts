import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'

/** A browser also waits for a while before it reconnects. */
const AGAIN_MS = 250

/** Clients of an SSE stream. Each client opens the stream again when it ends. */
export class EventStreams {
  private readonly tally = { open: 0, ended: 0, cut: 0, refused: 0 }
  private readonly end = new AbortController()
  private readonly dispatcher = new Agent({
    pipelining: 0,
    connections: null,
    bodyTimeout: 0,
    headersTimeout: 0,
  })

  constructor(count: number, url: string, headers: Readonly<Record<string, string>>) {
    for (let n = 0; n < count; n++) void this.follow(url, { ...headers, accept: 'text/event-stream' })
  }

  get open(): number {
    return this.tally.open
  }

  /** Numbers since the start: streams with a proper end, streams that broke, and failed attempts to open one. */
  get counts(): { readonly ended: number; readonly cut: number; readonly refused: number } {
    return { ...this.tally }
  }

  close(): void {
    this.end.abort()
    void this.dispatcher.destroy()
  }

  private async follow(url: string, headers: Readonly<Record<string, string>>): Promise<void> {
    const { signal } = this.end
    const { dispatcher, tally } = this
    while (!signal.aborted) {
      let isOpen = false
      try {
        const { statusCode, body } = await request(url, { headers, dispatcher, signal })
        if (statusCode !== 200) throw new Error(`status ${statusCode}`)
        isOpen = true
        tally.open += 1
        for await (const _ of body);
        tally.ended += 1
      } catch {
        if (!signal.aborted) tally[isOpen ? 'cut' : 'refused'] += 1
      }
      if (isOpen) tally.open -= 1
      await sleep(AGAIN_MS, undefined, { ref: false })
    }
  }
}
