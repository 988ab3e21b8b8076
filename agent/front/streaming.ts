import { type Agent, type IncomingMessage, request } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { HOP_EMPTY, HOP_EXPECTS, HOP_TAKEN } from './front-messages.ts'
import { forwardedTrailers, grouped, MAX_HEADER_BYTES } from './headers.ts'
import { type Failure, failureIn, type Sending } from './sending.ts'

/** The other front says by itself that it could not send the request on; one that hangs does not. */
export const OVERDUE_MS = 100
/** Whoever does not say that a body may come after so long may not know that it could. */
const UNINVITED_MS = 1_000

/**
 * Sends a request while its body arrives: at once with its head, to its last trailer, which undici cannot. To LangFlow it has a
 * connection of its own. To another front it goes with `Expect: 100-continue`: that one asks for the body once it can send the
 * request on, and LangFlow has nothing of it before; where the client expects an answer to its head, that one says when LangFlow has
 * the head. Resolves with `null` once an answer has begun, or nobody waits for one.
 */
export async function sendStreaming(
  { exchange, upstream, headers, begin, trouble }: Sending,
  { clock, heldUntil }: { readonly clock: Clock; readonly heldUntil: number },
): Promise<Failure | null> {
  const { to } = upstream.options
  const { body } = exchange
  let way: { agent: Agent } | { createConnection: () => Socket } = { agent: upstream.agent }
  if (to === 'langflow') {
    const connection = await upstream.dial().catch((error: Error) => {
      trouble('missed', upstream, error)
      return null
    })
    if (connection === null) return { what: 'missed' }
    if (exchange.gone) connection.destroy()
    way = { createConnection: () => connection }
  }
  if (exchange.gone) return null
  const { promise, resolve } = Promise.withResolvers<Failure | null>()
  const expects = to === 'leader' || exchange.expectsContinue
  if (expects) headers.push('expect', '100-continue')
  if (to === 'leader' && exchange.expectsContinue) headers.push(HOP_EXPECTS, '1')
  if (exchange.request.headers.host === undefined) headers.push('host', upstream.options.address)
  const empty = to === 'leader' && body.none
  if (empty) headers.push(HOP_EMPTY, '1')
  if (empty || body.chunked) headers.push('transfer-encoding', 'chunked')
  const outgoing = request({
    method: exchange.request.method,
    path: exchange.path,
    headers: empty ? withoutLength(headers) : headers,
    ...way,
    maxHeaderSize: MAX_HEADER_BYTES,
  })
  outgoing.maxHeadersCount = 0
  const ended = upstream.relaying(() => outgoing.destroy(new Error('the leader changed')))
  outgoing.once('close', ended)
  outgoing.once('socket', () => upstream.reached())
  exchange.abort = (why) => outgoing.destroy(why)
  let answered = false
  let begun = false
  /** Whether LangFlow may have something of it. */
  let taken = to === 'langflow'
  const sendBody = () => {
    if (begun) return
    begun = true
    if (!body.large) {
      outgoing.end(body.whole ?? undefined)
      return
    }
    // A failure is one of the connection, and told there.
    body.stream(outgoing, () => {
      outgoing.addTrailers(forwardedTrailers(exchange.request))
      outgoing.end()
    })
  }
  const failed = (error: Error) => {
    exchange.abort = null
    if (answered) exchange.cut()
    else if (exchange.gone) resolve(null)
    else {
      const what = taken ? 'broke' : 'missed'
      trouble(what, upstream, error)
      resolve({ what })
    }
  }
  const passBack = (incoming: IncomingMessage) => {
    incoming.on('data', (chunk: Buffer) => {
      if (exchange.write(chunk, () => incoming.resume())) return
      incoming.pause()
    })
    incoming.once('end', () => {
      exchange.end(incoming.trailers)
      // What is left of the body is not for this connection any more.
      if (!outgoing.writableFinished) outgoing.destroy()
    })
    incoming.once('error', failed)
  }
  outgoing.on('error', failed)
  outgoing.on('information', ({ statusCode, rawHeaders }) => {
    upstream.heard()
    taken = true
    if (to === 'langflow' || statusCode !== HOP_TAKEN) exchange.inform(statusCode, grouped(rawHeaders))
  })
  outgoing.once('continue', sendBody)
  outgoing.once('response', (incoming) => {
    upstream.heard()
    const head = { statusCode: incoming.statusCode ?? 502, headers: grouped(incoming.rawHeaders) }
    const failure = failureIn(upstream, head)
    if (failure === null) {
      answered = true
      exchange.from = to
      exchange.statusText = incoming.statusMessage ?? ''
      begin(head)
      passBack(incoming)
    } else outgoing.destroy()
    resolve(failure)
  })
  // Another front is told before LangFlow has anything of it.
  if (!expects) body.invite()
  if (to === 'langflow' && exchange.hop !== null && exchange.expectsContinue) exchange.inform(HOP_TAKEN, {})
  outgoing.flushHeaders()
  if (!expects) sendBody()
  else {
    const timer =
      to === 'langflow'
        ? clock.after(UNINVITED_MS, () => answered || outgoing.destroyed || sendBody())
        : clock.after(Math.max(0, heldUntil + OVERDUE_MS - clock.mono()), () => {
            if (!taken && !answered) outgoing.destroy(new Error('it held a request for too long'))
          })
    outgoing.once('close', () => timer.cancel())
  }
  return promise
}

function withoutLength(headers: readonly string[]): string[] {
  return headers.filter((_, i) => headers[i - (i % 2)]?.toLowerCase() !== 'content-length')
}
