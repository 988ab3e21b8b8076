import { get as getHttp } from 'node:http'
import { get as getHttps } from 'node:https'

/**
 * Asks `/health_check` once, on a connection of its own: what is wrong, or `null`. With what Node itself has, since the
 * launcher's memory counts.
 */
export function askHealth(origin: string, timeoutMs: number): Promise<string | null> {
  const url = new URL('/health_check', origin)
  const withinMs = Math.ceil(timeoutMs)
  const signal = AbortSignal.timeout(withinMs)
  const options = { agent: false, signal, rejectUnauthorized: false }
  return new Promise((resolve) => {
    const get = url.protocol === 'https:' ? getHttps : getHttp
    get(url, options, (response) => {
      response.resume()
      response.on('error', () => resolve('/health_check: no whole answer'))
      response.on('end', () =>
        resolve(response.statusCode === 200 ? null : `/health_check: ${response.statusCode}`),
      )
    }).on('error', (error: NodeJS.ErrnoException) =>
      resolve(
        signal.aborted
          ? `/health_check: no answer within ${withinMs / 1000} s`
          : `/health_check: ${error.code}`,
      ),
    )
  })
}
