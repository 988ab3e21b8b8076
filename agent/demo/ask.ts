import { type Agent, type IncomingHttpHeaders, request } from 'node:http'
import type { Clock } from '../clock.ts'

export interface Question {
  readonly host: string
  readonly port: number
  readonly path: string
  /** For the whole exchange; the connection is destroyed then. */
  readonly timeoutMs: number
  /** Without one, the request has a connection of its own. */
  readonly agent?: Agent
  readonly clock: Clock
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** One GET. Rejects where there is no whole answer in time. */
export function ask({ host, port, path, timeoutMs, agent, clock }: Question): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host, port, path, agent: agent ?? false }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        body += chunk
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }))
      response.on('error', reject)
    })
    const deadline = clock.after(timeoutMs, () =>
      asked.destroy(new Error(`no answer within ${timeoutMs} ms`)),
    )
    asked.on('error', reject)
    asked.on('close', () => deadline.cancel())
    asked.end()
  })
}
