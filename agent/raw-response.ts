import { STATUS_CODES } from 'node:http'

/** The bytes of a JSON answer to a client whose request could not be read. The connection ends with it. */
export function rawResponse(status: number, error: string): string {
  const body = `${JSON.stringify({ error })}\n`
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'X-Content-Type-Options: nosniff',
    'Connection: close',
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}
