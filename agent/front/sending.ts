import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import type { Exchange } from './exchange.ts'
import { HOP_EPOCH } from './front-messages.ts'
import type { Upstream } from './upstream.ts'

export interface AnswerHead {
  readonly statusCode: number
  readonly headers: IncomingHttpHeaders
}

/** What became of a request that was sent, where no answer has begun. */
export type Failure =
  /** It did not get there. */
  | { readonly what: 'missed' }
  /** It may have got there. */
  | { readonly what: 'broke' }
  /** By a front that does not lead, with the epoch that it knows. */
  | { readonly what: 'refused'; readonly epoch: number }
  | { readonly what: 'malformed'; readonly why: string }

/** A connection could not be had, or broke before an answer began. */
export type Trouble = (what: 'missed' | 'broke', to: Upstream, error: Error) => void

export interface Sending {
  readonly exchange: Exchange
  readonly upstream: Upstream
  /** Names and values in turn. */
  readonly headers: string[]
  readonly begin: (head: AnswerHead) => void
  readonly trouble: Trouble
}

/** `null`: this is an answer. */
export function failureIn(
  { options }: Upstream,
  {
    statusCode,
    headers,
  }: { readonly statusCode?: number | undefined; readonly headers: IncomingHttpHeaders },
): Extract<Failure, { what: 'refused' | 'broke' }> | null {
  const epoch = headers[HOP_EPOCH]
  if (options.to !== 'leader' || epoch === undefined) return null
  return statusCode === 421 ? { what: 'refused', epoch: Number(epoch) } : { what: 'broke' }
}

/**
 * Sends LangFlow a request whose body, if it has one, was read, over a connection that other requests use after it. Resolves with `null`
 * once an answer has begun, or nobody waits for one.
 */
export function send({ exchange, upstream, headers, begin, trouble }: Sending): Promise<Failure | null> {
  const { promise, resolve } = Promise.withResolvers<Failure | null>()
  let sent = false
  let answered = false
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(controller) {
      sent = true
      upstream.reached()
      exchange.abort = (why) => controller.abort(why)
      if (exchange.gone) controller.abort(new Error('the client is gone'))
    },
    onResponseStart(_, statusCode, answer, statusText = '') {
      if (statusCode < 200) return exchange.inform(statusCode, answer)
      answered = true
      exchange.from = 'langflow'
      exchange.statusText = statusText
      begin({ statusCode, headers: answer })
      resolve(null)
    },
    onResponseData(controller, chunk) {
      if (!exchange.write(chunk, () => controller.resume())) controller.pause()
    },
    onResponseEnd(_, trailers) {
      exchange.end(trailers)
    },
    onResponseError(_, error) {
      exchange.abort = null
      const { code } = error as NodeJS.ErrnoException
      if (answered) exchange.cut()
      else if (exchange.gone) resolve(null)
      else if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED')
        resolve({ what: 'malformed', why: error.message })
      else {
        const what = sent ? 'broke' : 'missed'
        trouble(what, upstream, error)
        resolve({ what })
      }
    },
  }
  upstream.pool.dispatch(
    {
      path: exchange.path,
      method: (exchange.request.method ?? 'GET') as Dispatcher.HttpMethod,
      headers,
      body: exchange.body.whole,
      // By itself undici closes the connection after a HEAD.
      reset: false,
    },
    handler,
  )
  return promise
}
