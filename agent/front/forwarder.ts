import type { Clock } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import { forwardedHeaders, hopHeaders } from './headers.ts'
import { notTheLeader, outcomeUnknown } from './refusal.ts'
import type { Routing } from './routing.ts'
import { type Failure, Sending, type Trouble } from './sending.ts'
import type { Upstream } from './upstream.ts'
import type { WaitingRoom } from './waiting-room.ts'

/** The first time that LangFlow ends while it has a request may be by chance. */
const MAX_ATTEMPTS = 2

export interface Ways {
  readonly routing: Routing
  readonly room: WaitingRoom
  readonly trouble: Trouble
  readonly clock: Clock
  readonly holdTimeoutMs: number
}

/**
 * Sends a request to the serving replica, with as many attempts as are needed and allowed. Resolves when an answer has
 * begun or the client is gone. Rejects with a `Refusal` if there will be no answer.
 */
export async function forward(exchange: Exchange, ways: Ways): Promise<void> {
  const { routing, room } = ways
  while (!exchange.gone) {
    if (exchange.hop !== null && !routing.accepts(exchange.hop)) throw notTheLeader(routing.epoch)
    const upstream = await room.turn(exchange)
    const failure = await send(exchange, upstream, ways).catch((error) => {
      // If this request was the only one allowed to try, no other request would be tried without this.
      upstream.givenBack()
      throw error
    })
    if (failure === null) {
      // If the client disconnected, the request may not have reached the upstream.
      upstream.givenBack()
      return
    }
    exchange.become('arriving')
    if (failure.what === 'missed') upstream.missed()
    // The other front has sent nothing on.
    else if (failure.what === 'refused') upstream.refused(failure.epoch)
    else {
      upstream.broke()
      countAttempt(exchange, routing)
    }
  }
}

/**
 * Returns if the request may be sent once more; each request has one such retry. Throws a `Refusal` if not. The front
 * to which it came first decides: that front outlives the leaders, and also counts the connections that broke with a
 * whole pod.
 */
function countAttempt(exchange: Exchange, routing: Routing): void {
  exchange.attempts++
  if (exchange.hop !== null) throw outcomeUnknown(routing.epoch)
  if (!exchange.repeatable || exchange.attempts === MAX_ATTEMPTS) throw outcomeUnknown(null)
}

async function send(exchange: Exchange, upstream: Upstream, ways: Ways): Promise<Failure | null> {
  const { to, hop } = upstream.options
  const { room, trouble, clock, holdTimeoutMs } = ways
  const headers = forwardedHeaders(exchange.request, exchange.hop !== null)
  if (to === 'leader') headers.push(...hopHeaders(hop, clock.mono() - exchange.since))
  exchange.become('in flight')
  const heldUntil = exchange.since + holdTimeoutMs
  const answered = () => room.answered(exchange)
  return new Sending({ exchange, upstream, headers, answered, trouble, clock, heldUntil }).outcome
}
