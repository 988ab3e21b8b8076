import { type IncomingMessage, request } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { Clock } from '../clock.ts'
import { forwardedTrailers, grouped } from './headers.ts'
import { HOP_EXPECTS } from './messages.ts'
import { type Failure, refusalIn, type Sending } from './sending.ts'

/** Whoever does not say that a body may come after so long may not know that it could. */
const UNINVITED_MS = 1_000

/**
 * Sends a request while its body arrives, over a connection of its own: at once with its head, to its last trailer, which undici
 * cannot. To another front it goes with `Expect: 100-continue`: until that one can send it on, nothing is read of the body, and the
 * request may go elsewhere. Resolves with `null` once an answer has begun, or nobody waits for one.
 */
export async function sendStreaming(
  { exchange, upstream, headers, begin, trouble }: Sending,
  clock: Clock,
): Promise<Failure | null> {
  const { to } = upstream.options
  const { body } = exchange
  const connection = await upstream.dial().catch((error: Error) => {
    trouble('missed', upstream, error)
    return null
  })
  if (connection === null) return { what: 'missed' }
  upstream.reached()
  const { promise, resolve } = Promise.withResolvers<Failure | null>()
  if (exchange.gone) {
    connection.destroy()
    return null
  }
  const expects = to === 'leader' || exchange.expectsContinue
  if (expects) headers.push('expect', '100-continue')
  if (to === 'leader' && exchange.expectsContinue) headers.push(HOP_EXPECTS, '1')
  if (exchange.request.headers.host === undefined) headers.push('host', upstream.options.address)
  if (body.chunked) headers.push('transfer-encoding', 'chunked')
  const outgoing = request({
    method: exchange.request.method,
    path: exchange.path,
    headers,
    createConnection: () => connection,
    maxHeaderSize: upstream.maxHeaderBytes,
  })
  const over = upstream.relaying(() => outgoing.destroy(new Error('the leader changed')))
  outgoing.once('close', over)
  exchange.abort = (why) => outgoing.destroy(why)
  let answered = false
  let begun = false
  const sendBody = () => {
    if (begun) return
    begun = true
    // A failure is one of the connection, and told there.
    pipeline(body.pieces(), outgoing, { end: false }).then(
      () => {
        outgoing.addTrailers(forwardedTrailers(exchange.request))
        outgoing.end()
      },
      () => {},
    )
  }
  const failed = (error: Error) => {
    exchange.abort = null
    if (answered) exchange.cut()
    else if (exchange.gone) resolve(null)
    else {
      trouble('broke', upstream, error)
      resolve({ what: 'broke' })
    }
  }
  const passBack = (incoming: IncomingMessage) => {
    exchange.from = to
    exchange.statusText = incoming.statusMessage ?? ''
    incoming.on('data', (chunk: Buffer) => {
      if (exchange.write(chunk, () => incoming.resume())) return
      incoming.pause()
    })
    incoming.once('end', () => {
      exchange.end(incoming.trailers)
      // What is left of the body is not for this connection any more.
      outgoing.destroy()
    })
    incoming.once('error', failed)
  }
  outgoing.on('error', failed)
  outgoing.on('information', (answer) => exchange.inform(answer.statusCode, grouped(answer.rawHeaders)))
  outgoing.once('continue', sendBody)
  outgoing.once('response', (incoming) => {
    const head = { statusCode: incoming.statusCode ?? 502, headers: grouped(incoming.rawHeaders) }
    const refusal = refusalIn(upstream, head)
    if (refusal === null) {
      answered = true
      begin(head)
      passBack(incoming)
    } else outgoing.destroy()
    resolve(refusal)
  })
  outgoing.flushHeaders()
  if (!expects) sendBody()
  else if (to === 'langflow') {
    const timer = clock.after(UNINVITED_MS, () => answered || outgoing.destroyed || sendBody())
    outgoing.once('close', () => timer.cancel())
  }
  return promise
}
