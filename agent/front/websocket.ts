import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import WebSocket, { WebSocketServer } from 'ws'
import type { Clock } from '../clock.ts'
import type { Budget } from './budget.ts'
import type { Garbage } from './collect-garbage.ts'
import type { Counts, Doing } from './counts.ts'
import { HOP_TAKEN } from './front-messages.ts'
import { forwardedHeaders, grouped, type Headers, passedBackHeaders } from './headers.ts'
import { hopHeaders, hopOf, waitedThereMs } from './hop.ts'
import { attempted, failedItself, faultOf, notTheLeader, Refusal } from './refusal.ts'
import type { Routing } from './routing.ts'
import { failureIn, type Trouble } from './sending.ts'
import { OVERDUE_MS } from './streaming.ts'
import type { Streams } from './streams.ts'
import type { Upstream } from './upstream.ts'
import type { Guest, WaitingRoom } from './waiting-room.ts'

/** How long the other end may take to close as well. */
const CLOSE_TIMEOUT_MS = 1_000
/** What may wait in memory for a slow reader before the other end is read no further. */
const MAX_BUFFERED_BYTES = 1024 * 1024
/** What a client may send before it is answered. */
const MAX_EARLY_BYTES = 64 * 1024
/** Of a client, read whole: as much as LangFlow's own server takes. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024

/** Of the budget: a client whose incomplete message would take it is sent away, and no end is read before its message is sent on. */
const RESERVE_BYTES = 32 * 1024 * 1024
/** What a message takes beside its bytes. */
const MESSAGE_BYTES = 512
const CONTROL_HEAD_BYTES = 6

const GOING_AWAY = 1001
const NO_STATUS = 1005
const ABNORMAL = 1006
const SERVICE_RESTART = 1012
const TRY_AGAIN_LATER = 1013

/** Messages as they are: each is compressed, and pings are answered, by the ends alone. */
const AS_IT_IS = {
  perMessageDeflate: false,
  autoPong: false,
  skipUTF8Validation: true,
  closeTimeout: CLOSE_TIMEOUT_MS,
}

export interface WebSocketsOptions {
  readonly routing: Routing
  readonly room: WaitingRoom
  readonly counts: Counts
  readonly streams: Streams
  readonly garbage: Garbage
  readonly budget: Budget
  readonly clock: Clock
  readonly holdTimeoutMs: number
  readonly nextOrder: () => number
  readonly trouble: Trouble
  /** What should never happen has. */
  readonly failed: (error: unknown) => void
}

/** What LangFlow, or the leader's front, made of a handshake. */
type Handshake =
  | { readonly what: 'open'; readonly far: WebSocket; readonly answer: IncomingMessage }
  | { readonly what: 'answered'; readonly answer: IncomingMessage }
  /** `broke`: LangFlow may have had it. */
  | { readonly what: 'missed' | 'broke'; readonly error: Error }

/** Websockets: held and sent on as any request, then relayed message by message. */
export class WebSockets {
  readonly #options: WebSocketsOptions
  readonly #server: WebSocketServer
  /** What a client is told of the other end's handshake, while it is answered. */
  readonly #answers = new WeakMap<IncomingMessage, IncomingMessage>()

  constructor(options: WebSocketsOptions) {
    this.#options = options
    this.#server = new WebSocketServer({
      ...AS_IT_IS,
      noServer: true,
      maxPayload: MAX_MESSAGE_BYTES,
      maxFragments: 1024,
      clientTracking: false,
      handleProtocols: (_, request) => this.#answers.get(request)?.headers['sec-websocket-protocol'] ?? false,
    })
    this.#server.on('headers', (lines, request) => {
      const answer = passedBackHeaders(this.#answers.get(request)?.headers ?? {}, false)
      for (const [name, value] of Object.entries(answer)) {
        if (name.startsWith('sec-websocket-')) continue
        for (const one of [value].flat()) lines.push(`${name}: ${one}`)
      }
    })
  }

  async upgrade(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const caller = new Caller(request, socket, head, this.#options)
    try {
      const fault = faultOf(request) ?? this.#options.budget.refuses(request, socket)
      if (fault !== null) throw fault
      if (!isHandshake(request)) throw new Refusal(400, 'this is no handshake of a websocket')
      await this.#connect(caller)
    } catch (error) {
      if (!(error instanceof Refusal) && !caller.gone) this.#options.failed(error)
      caller.refuse(error instanceof Refusal ? error : failedItself())
    }
  }

  async #connect(caller: Caller): Promise<void> {
    const { routing, room } = this.#options
    while (!caller.gone) {
      if (caller.hop !== null && !routing.accepts(caller.hop)) throw notTheLeader(routing.epoch)
      const upstream = await room.turn(caller)
      caller.became('in flight')
      // Until it is relayed, or another is asked.
      const over = upstream.relaying(() => caller.far?.terminate())
      try {
        if (await this.#isAnswered(caller, upstream)) return
      } finally {
        over()
      }
      caller.became('arriving')
    }
  }

  /** Whether the client has what it asked for, or is gone; else it is asked for again. */
  async #isAnswered(caller: Caller, upstream: Upstream): Promise<boolean> {
    const handshake = await this.#shakeHands(caller, upstream)
    if (handshake.what === 'open' || handshake.what === 'answered') this.#options.room.answered(caller)
    if (caller.gone) {
      upstream.givenBack()
      return true
    }
    switch (handshake.what) {
      case 'open':
        this.#relay(caller, upstream, handshake.far, handshake.answer)
        return true
      case 'answered': {
        const { answer } = handshake
        const failure = failureIn(upstream, answer)
        if (failure === null) {
          caller.answer(answer, upstream)
          return true
        }
        answer.destroy()
        if (failure.what === 'refused') upstream.refused(failure.epoch)
        else attempted(caller, true, this.#options.routing.epoch)
        return false
      }
      case 'missed':
      case 'broke':
        this.#options.trouble(handshake.what, upstream, handshake.error)
        if (handshake.what === 'missed') upstream.missed()
        else attempted(caller, true, this.#options.routing.epoch)
        return false
    }
  }

  async #shakeHands(caller: Caller, upstream: Upstream): Promise<Handshake> {
    const connection = await upstream.dial().catch((error: Error) => error)
    if (connection instanceof Error) return { what: 'missed', error: connection }
    upstream.reached()
    if (caller.gone) {
      connection.destroy()
      return { what: 'missed', error: new Error('the client is gone') }
    }
    const { clock, holdTimeoutMs } = this.#options
    const { to, hop, address } = upstream.options
    const headers = forwardedHeaders(caller.request, caller.hop !== null)
    if (to === 'leader') headers.push(...hopHeaders(hop, clock.mono() - caller.since))
    else if (caller.hop !== null) caller.taken()
    let what: 'missed' | 'broke' = to === 'leader' ? 'missed' : 'broke'
    const far = new WebSocket(`ws://${address}`, [], {
      ...AS_IT_IS,
      createConnection: () => connection,
      headers: handshakeHeaders(headers),
      finishRequest(handshake) {
        // As the client wrote it, and which of its protocols is chosen is for the two ends.
        handshake.path = caller.request.url ?? '/'
        const offered = grouped(caller.request.rawHeaders)['sec-websocket-protocol']
        if (offered !== undefined) handshake.setHeader('sec-websocket-protocol', offered)
        handshake.once('information', () => {
          what = 'broke'
        })
        handshake.end()
      },
    })
    caller.far = far
    const late = clock.after(Math.max(0, caller.since + holdTimeoutMs + OVERDUE_MS - clock.mono()), () => {
      if (what === 'missed' && far.readyState === WebSocket.CONNECTING) far.terminate()
    })
    return new Promise<Handshake>((resolve) => {
      let shaken: IncomingMessage
      far.once('upgrade', (answer) => {
        const { 'sec-websocket-protocol': _, ...rest } = answer.headers
        shaken = Object.assign(Object.create(answer) as IncomingMessage, { headers: answer.headers })
        answer.headers = rest
      })
      far.once('open', () => {
        far.pause()
        resolve({ what: 'open', far, answer: shaken })
      })
      far.once('unexpected-response', (_, answer) => {
        answer.once('close', () => connection.destroy())
        resolve({ what: 'answered', answer })
      })
      far.on('error', (error) => resolve({ what, error }))
    }).finally(() => late.cancel())
  }

  #relay(caller: Caller, upstream: Upstream, far: WebSocket, answer: IncomingMessage): void {
    const { counts, streams } = this.#options
    const { request } = caller
    this.#answers.set(request, answer)
    const { socket, head } = caller.released()
    this.#server.handleUpgrade(request, socket, head, (near) => {
      caller.became('streaming')
      let ended = false
      const restart = () => {
        ended = true
        near.close(SERVICE_RESTART, 'service restart')
        far.close(GOING_AWAY)
        // Its LangFlow is to be stopped, or does not lead: that is not to wait for its part of the handshake.
        setImmediate(() => far.terminate())
      }
      const streamOver = streams.add(() => {
        counts.streamEnded()
        restart()
      })
      const relayOver = upstream.relaying(() => {
        counts.failed('cut')
        restart()
      })
      near.once('close', () => {
        streamOver()
        relayOver()
        if (!ended) counts.forwarded(upstream.options.to)
      })
      bound(near, socket, this.#options)
      pass(near, far, this.#options)
      pass(far, near, this.#options)
      far.resume()
      socket.resume()
    })
  }
}

/** A client that asks for a websocket, until it has one. */
class Caller implements Guest {
  readonly request: IncomingMessage
  readonly urgent = false
  readonly order: number
  readonly hop: string | null
  since: number
  attempts = 0
  gone = false
  far: WebSocket | null = null
  readonly #socket: Socket
  readonly #options: WebSocketsOptions
  #early: Buffer[]
  #earlyBytes = 0
  #doing: Doing = 'arriving'
  #waitedMs: number | null = null

  constructor(request: IncomingMessage, socket: Socket, head: Buffer, options: WebSocketsOptions) {
    this.request = request
    this.#socket = socket
    this.#early = [head]
    this.#options = options
    this.order = options.nextOrder()
    this.hop = hopOf(request)
    this.since = options.clock.mono() - (this.hop === null ? 0 : waitedThereMs(request))
    options.counts.arrived()
    socket.on('error', () => {})
    socket.once('close', this.#leave)
    // Without reading nobody would see it go.
    socket.once('end', this.#leave)
    socket.on('data', this.#heard)
  }

  waits(held: boolean): void {
    if (!held) this.#waitedMs = this.#options.clock.mono() - this.since
    this.became(held ? 'waiting' : 'arriving')
  }

  became(doing: Doing): void {
    if (this.#doing === 'over') return
    this.#options.counts.became(this.#doing, doing)
    this.#doing = doing
    if (doing === 'streaming' || doing === 'over') this.#toldWaiting()
  }

  /** Of a hop: LangFlow may have it from now on. */
  taken(): void {
    this.#socket.write(`HTTP/1.1 ${HOP_TAKEN} ${STATUS_CODES[HOP_TAKEN]}\r\n\r\n`)
  }

  refuse(refusal: Refusal): void {
    if (this.gone) return
    this.#options.room.forget(this)
    if (refusal.reason !== null) this.#options.counts.failed(refusal.reason)
    this.#answered(() => this.became('over'))
    refusal.end(this.#socket)
  }

  /** The other end's answer, which is no websocket. */
  answer(answer: IncomingMessage, upstream: Upstream): void {
    if (this.gone) return
    const { statusCode = 502, statusMessage = STATUS_CODES[statusCode] ?? '' } = answer
    const headers = Object.entries({ ...passedBackHeaders(answer.headers, false), connection: 'close' })
    const lines = headers.flatMap(([name, value]) => [value].flat().map((one) => `${name}: ${one}\r\n`))
    this.#answered(() => {
      this.became('over')
      answer.destroy()
    })
    this.#socket.write(`HTTP/1.1 ${statusCode} ${statusMessage}\r\n${lines.join('')}\r\n`)
    answer.once('end', () => this.#options.counts.forwarded(upstream.options.to))
    answer.once('error', () => this.#socket.destroy())
    // Nobody else would see it go while the rest is long in coming.
    this.#socket.once('end', () => this.#socket.destroy())
    answer.pipe(this.#socket.resume())
  }

  /** From now on it is read by somebody else. */
  released(): { socket: Socket; head: Buffer } {
    const socket = this.#answered(() => {
      // Refused after all; one that is relayed ends as the client says.
      if (this.#doing !== 'streaming') this.far?.terminate()
      this.became('over')
    }).pause()
    return { socket, head: Buffer.concat(this.#early) }
  }

  /** It has its answer: that it goes then is no news. */
  #answered(closed: () => void): Socket {
    const socket = this.#socket
    return socket
      .off('data', this.#heard)
      .off('end', this.#leave)
      .off('close', this.#leave)
      .once('close', closed)
  }

  readonly #heard = (chunk: Buffer): void => {
    this.#early.push(chunk)
    this.#earlyBytes += chunk.length
    if (this.#earlyBytes > MAX_EARLY_BYTES) this.#leave()
  }

  readonly #leave = (): void => {
    if (this.gone) return
    this.gone = true
    this.#options.counts.failed('client_gone')
    this.#options.room.forget(this)
    this.far?.terminate()
    this.#socket.destroy()
    this.became('over')
  }

  #toldWaiting(): void {
    if (this.#waitedMs !== null) this.#options.counts.waited(this.#waitedMs)
    this.#waitedMs = null
  }
}

/** What a client has said of a message that is not complete yet counts. */
function bound(near: WebSocket, socket: Socket, { garbage, budget }: WebSocketsOptions): void {
  let bytes = 0
  const gone = (some: number) => {
    budget.gone(some)
    bytes -= some
  }
  // Before the end of a message is found in it.
  socket.prependListener('data', ({ length }: Buffer) => {
    garbage.passed(length)
    if (budget.takes(length, RESERVE_BYTES)) bytes += length
    else {
      near.close(TRY_AGAIN_LATER, 'no memory left for this message')
      setImmediate(() => near.terminate())
    }
  })
  for (const end of ['message', 'close']) near.on(end, () => gone(bytes))
  for (const control of ['ping', 'pong'])
    near.on(control, ({ length }: Buffer) => gone(Math.min(bytes, CONTROL_HEAD_BYTES + length)))
}

/** Everything that one end says to the other, no faster than that one reads. */
function pass(from: WebSocket, to: WebSocket, { garbage, budget }: WebSocketsOptions): void {
  let waiting = 0
  const relay = ({ length }: Buffer, send: (sent: () => void) => void) => {
    const bytes = length + MESSAGE_BYTES
    const taken = budget.takes(bytes, RESERVE_BYTES)
    garbage.passed(length)
    waiting += bytes
    send(() => {
      if (taken) budget.gone(bytes)
      waiting -= bytes
      if (from.isPaused && waiting < MAX_BUFFERED_BYTES) from.resume()
    })
    if (!taken || waiting >= MAX_BUFFERED_BYTES) from.pause()
  }
  const open = () => to.readyState === WebSocket.OPEN
  from.on('message', (data: Buffer, binary) => relay(data, (sent) => to.send(data, { binary }, sent)))
  from.on('ping', (data) => open() && relay(data, (sent) => to.ping(data, undefined, sent)))
  from.on('pong', (data) => open() && relay(data, (sent) => to.pong(data, undefined, sent)))
  from.on('error', () => {})
  from.on('close', (code, reason) => {
    // It closes by itself.
    if (to.readyState !== WebSocket.OPEN) return
    if (code === ABNORMAL) to.terminate()
    else if (code === NO_STATUS) to.close()
    else to.close(code, reason)
  })
}

function isHandshake({ method, headers }: IncomingMessage): boolean {
  return (
    method === 'GET' &&
    headers['sec-websocket-version'] === '13' &&
    /^[+/\dA-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? '')
  )
}

/** Without what the handshake of each connection says by itself. */
function handshakeHeaders(flat: readonly string[]): Headers {
  const own = ([name]: [string, unknown]) => name.startsWith('sec-websocket-')
  return Object.fromEntries(Object.entries(grouped(flat)).filter((header) => !own(header)))
}
