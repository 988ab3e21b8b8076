import { isIP } from 'node:net'
import { isAbsolute, normalize, resolve } from 'node:path'

// The values of flags, read from their texts. Each `parse` function throws an Error whose sentence is the remedy.

const UNITS: readonly (readonly [unit: string, ms: number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
]
/** Go's notation has no days. */
const GO_UNITS = UNITS.slice(1)
const DURATION = /^(?:\d+(?:\.\d+)?(?:ms|h|m|s))+$/
const PART = /(\d+(?:\.\d+)?)(ms|h|m|s)/g
/** Node's timers take at most 24.8 days. No flag needs more than a day. */
const LONGEST_MS = 24 * 3_600_000

export function parseDuration(text: string, minMs: number): number {
  const ms = text === '0' ? 0 : milliseconds(text)
  if (ms < minMs) throw new Error(`use at least ${formatDuration(minMs)}`)
  if (ms > LONGEST_MS) throw new Error(`use at most ${formatDuration(LONGEST_MS)}`)
  return ms
}

function milliseconds(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) throw new Error(`a duration needs a unit, such as ${text}s or ${text}ms`)
  if (!DURATION.test(text))
    throw new Error('use a duration with the units h, m, s and ms, such as 15s, 1m30s or 500ms')
  const sizes = new Map(UNITS)
  const parts = [...text.matchAll(PART)]
  return Math.round(parts.reduce((sum, [, n, unit = '']) => sum + Number(n) * (sizes.get(unit) ?? 0), 0))
}

/** The text that `parseDuration` reads as `ms` (a whole number from 0), such as `1m30s`. */
export function formatDuration(ms: number, units = GO_UNITS): string {
  let rest = ms
  const parts = units.map(([unit, size]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return count === 0 ? '' : `${count}${unit}`
  })
  return parts.join('') || '0s'
}

/** For people: `86ms`, `15.4s`, `3m12s`, `2d4h`. A negative duration is `0s`, an unknown one (`null`) is `-`. */
export function shortDuration(ms: number | null): string {
  if (ms === null || Number.isNaN(ms)) return '-'
  const whole = Math.round(ms)
  if (whole >= 1_000 && whole < 99_950) return `${Number((whole / 1_000).toFixed(1))}s`
  const largest = UNITS.findIndex(([, size]) => whole >= size)
  return largest < 0 ? '0s' : formatDuration(whole, UNITS.slice(largest, largest + 2))
}

/** `a`, `a and b`, `a, b and c`. */
export function listed(words: readonly string[], conjunction: 'and' | 'or' = 'and'): string {
  const last = words.at(-1) ?? ''
  return words.length < 2 ? last : `${words.slice(0, -1).join(', ')} ${conjunction} ${last}`
}

/** At least 2 s: a holder that releases the Lease writes 1 s. */
export function parseLeaseDuration(text: string): number {
  const ms = parseDuration(text, 2000)
  if (ms % 1000 !== 0) throw new Error(`a Lease stores whole seconds: use ${Math.ceil(ms / 1000)}s`)
  return ms
}

export const parseCount = wholeNumber(999, 3)
export const parseHoldLimit = wholeNumber(100_000, 1000)

function wholeNumber(most: number, example: number): (text: string) => number {
  return (text) => {
    if (/^[1-9]\d{0,8}$/.test(text) && Number(text) <= most) return Number(text)
    throw new Error(`use a whole number from 1 to ${most}, such as ${example}`)
  }
}

export interface Listen {
  readonly host: string | null
  readonly port: number
}

export interface Peer {
  readonly host: string
  readonly port: number
}

export function parseListen(text: string): Listen {
  const read = hostAndPort(text)
  if (read === null || (read.host !== '' && isIP(read.host) === 0))
    throw new Error('use an IP address and a port, such as :8090, 127.0.0.1:8090 or [::1]:8090')
  return { host: read.host || null, port: read.port }
}

/** As `parseListen`, but the port is fixed, because other replicas connect to it. */
export function parseFrontListen(text: string): Listen {
  const listen = parseListen(text)
  if (listen.port === 0) throw new Error('use a port from 1 to 65535, such as :8091')
  return listen
}

export function formatListen({ host, port }: Listen): string {
  return `${host === null ? '' : isIP(host) === 6 ? `[${host}]` : host}:${port}`
}

const DNS_NAME = /^(?=.{1,253}$)[a-z\d]([-a-z\d]*[a-z\d])?(\.[a-z\d]([-a-z\d]*[a-z\d])?)*\.?$/i

export function parsePeers(text: string): readonly Peer[] {
  return text.split(',').map((one) => parsePeer(one.trim()))
}

/** Reads `langflow-members:8090`, `10.0.0.7:8090` or `[fd00::7]:8090`. */
export function parsePeer(text: string): Peer {
  const read = hostAndPort(text)
  if (read === null || read.port === 0 || (isIP(read.host) !== 6 && !DNS_NAME.test(read.host)))
    throw new Error(
      'use a DNS name or an IP address with a port, such as langflow-members:8090 or [fd00::7]:8090',
    )
  return read
}

/** The host, without brackets and possibly empty, and the port, from 0; `null` if the text has another form. */
function hostAndPort(text: string): { host: string; port: number } | null {
  const { v6, host, port } = /^(?:\[(?<v6>.*)\]|(?<host>[^:[\]]*)):(?<port>\d{1,5})$/.exec(text)?.groups ?? {}
  if (port === undefined || Number(port) > 65_535 || (v6 !== undefined && isIP(v6) !== 6)) return null
  return { host: v6 ?? host ?? '', port: Number(port) }
}

const LOOPBACK = /^https?:\/\/(localhost|127(\.\d+){3}|\[::1\]):(?<port>\d+)\/?$/i

export function parseTarget(text: string): { readonly origin: string; readonly port: number } {
  const url = URL.parse(text)
  const port = Number(LOOPBACK.exec(text)?.groups?.port)
  if (url === null || !port)
    throw new Error('use a URL of scheme, loopback address and port, such as http://127.0.0.1:7860')
  // A URL drops the usual port of its scheme.
  return { origin: `${url.protocol}//${url.hostname}:${port}`, port }
}

function matching(pattern: RegExp, sentence: string): (text: string) => string {
  return (text) => {
    if (pattern.test(text)) return text
    throw new Error(sentence)
  }
}

/** The name of a Lease: Kubernetes requires a DNS subdomain (RFC 1123). */
export const parseObjectName = matching(
  /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
  'use at most 253 lower-case letters, digits, - and ., with a letter or digit at both ends, such as langflow-leader-lock',
)

export const parseNamespace = matching(
  /^(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
  'use at most 63 lower-case letters, digits and -, with a letter or digit at both ends, such as langflow',
)

export const parseIdentity = matching(
  /^[\x21-\x7e]{1,512}$/,
  'use 1 to 512 printable ASCII characters without spaces, such as langflow-0_3f1c',
)

export function parsePath(text: string): string {
  if (!isAbsolute(text) || text.includes('\0'))
    throw new Error('use an absolute path, such as /run/langflow-leader')
  return normalize(text)
}

export function parseFile(text: string): string {
  if (text.includes('\0')) throw new Error('use a path, such as ./kubeconfig')
  return resolve(text)
}

/** `sun_path` in Linux's `sockaddr_un` has 108 bytes, one of them the final NUL. */
const LONGEST_SOCKET_PATH = 107

export function parseSocket(text: string): string {
  const path = parsePath(text)
  const bytes = Buffer.byteLength(path)
  if (bytes <= LONGEST_SOCKET_PATH) return path
  throw new Error(
    `the path has ${bytes} bytes: use at most ${LONGEST_SOCKET_PATH}, the limit for a unix socket`,
  )
}
