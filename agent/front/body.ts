import type { ServerResponse } from 'node:http'
import type { Writable } from 'node:stream'
import { isEmptyThere } from './headers.ts'
import { type JoiningRequest, passed } from './memory.ts'

export interface BodyOptions {
  readonly request: JoiningRequest
  readonly response: ServerResponse
  readonly expectsContinue: boolean
}

export class RequestBody {
  readonly #options: BodyOptions
  /** The end of a hop's body is withheld until it is invited, also if the client sent no body. */
  readonly #isWithheld: boolean
  readonly chunked: boolean
  readonly none: boolean
  /** Whether the client still waits for `100 Continue`. It might never send the body. */
  uninvited: boolean
  begun = false

  constructor(options: BodyOptions) {
    const { request, expectsContinue } = options
    this.#options = options
    this.uninvited = expectsContinue
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
    this.#isWithheld = isEmptyThere(request)
    this.chunked = encoding !== undefined && !this.#isWithheld
    this.none = !this.chunked && Number(length ?? 0) === 0
  }

  get isComplete(): boolean {
    return this.none && !this.#isWithheld
  }

  /** Ends `to` with the body. An iterator would keep the last piece until the next one arrives: 1,700 took 110 MB. */
  stream(to: Writable): void {
    const { request, response } = this.#options
    if (this.uninvited) response.writeContinue()
    this.uninvited = false
    if (this.isComplete) {
      to.end()
      return
    }
    const relay = (piece: Buffer) => {
      this.begun = true
      passed(piece.length)
      // One after the other, so that small pieces that arrive during a write are joined.
      request.pause()
      to.write(piece, () => {
        request.resume()
        request.pushSmall()
      })
    }
    const end = () => to.end()
    request
      .on('data', relay)
      .once('end', end)
      .on('error', () => {})
    // The client can read an early answer only after it has sent the rest.
    to.once('close', () => {
      request.off('data', relay).off('end', end)
      request.on('data', () => setImmediate(() => request.pushSmall())).resume()
    })
  }
}
