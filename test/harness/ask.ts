import { request } from 'undici'

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

/**
 * One GET on a connection of its own: an idle one would look like work that a drain has to wait for. Rejects where there is no
 * whole answer in time.
 */
export async function ask(url: string, timeoutMs: number): Promise<Answer> {
  const { statusCode, headers, body } = await request(url, {
    signal: AbortSignal.timeout(timeoutMs),
    reset: true,
  })
  return { status: statusCode, headers, body: await body.text() }
}
