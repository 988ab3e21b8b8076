import { request } from 'undici'
import { OperationError } from '../exit-codes.ts'

/** Deadline for LangFlow to store, to list or to delete objects, in milliseconds. */
const STORED_MS = 20_000

/** LangFlow's API at the address that its users use, with the key of one user. */
export class LangflowApi {
  readonly url: string
  readonly #key: { 'x-api-key'?: string }

  /** @param base LangFlow's address for users, which may have a path */
  constructor({ href }: URL, apiKey: string | null) {
    this.url = href.replace(/\/+$/, '')
    this.#key = apiKey === null ? {} : { 'x-api-key': apiKey }
  }

  /**
   * Sends a request over a new connection, as a new user would. A kept connection would stay at one replica, and end in its drain.
   * The body is sent as JSON, unless it is a form. `json` is `null` if the answer is not JSON.
   */
  async ask(method: 'GET' | 'POST' | 'DELETE', path: string, body: object | null, signal: AbortSignal) {
    const encoded = body instanceof FormData ? new Response(body) : body && Response.json(body)
    const type = encoded?.headers.get('content-type')
    const headers = { ...this.#key, ...(type && { 'content-type': type }) }
    const asked = { method, headers, body: (await encoded?.text()) ?? null, signal, reset: true }
    const answer = await request(`${this.url}${path}`, asked)
    return { status: answer.statusCode, json: await answer.body.json().catch(() => null) }
  }

  /**
   * Stores, reads or deletes. Resolves to the JSON of the answer, or to `null` if LangFlow does not have the object. Rejects with an
   * `OperationError` if LangFlow refuses, or does not answer in time.
   */
  async store(method: 'GET' | 'POST' | 'DELETE', path: string, body: object | null = null): Promise<unknown> {
    const what = `${method} ${this.url}${path.replace(/\?.*/, '')}`
    const answer = await this.ask(method, path, body, AbortSignal.timeout(STORED_MS)).catch((error) => {
      throw notServed(`${what}: ${error.message || error.code}`)
    })
    if (answer.status < 300) return answer.json
    if (answer.status === 404 && method !== 'POST') return null
    throw notServed(`${what}: status ${answer.status}`)
  }
}

export function notServed(sentence: string): OperationError {
  return new OperationError('not_served', sentence)
}
