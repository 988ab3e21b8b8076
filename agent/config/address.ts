import { isIP, isIPv4 } from 'node:net'

export interface Listen {
  /** An IP address; `null`: every address, IPv4 and IPv6. */
  readonly host: string | null
  /** 0 to 65535; 0: any free port. */
  readonly port: number
}

export interface Target {
  /** Scheme, host and port, without a slash at the end. */
  readonly origin: string
  /** 1 to 65535. */
  readonly port: number
}

/** Where the agents of all replicas answer. */
export interface Peer {
  /** A DNS name or an IP address, without brackets. */
  readonly host: string
  /** 1 to 65535. */
  readonly port: number
}

/** Reads `:8090`, `127.0.0.1:0` or `[::1]:8090`. Throws an Error that says what to write instead. */
export function parseListen(text: string): Listen {
  const parts = /^(?:\[(?<v6>[^\]]*)\]|(?<v4>[^:]*)):(?<port>[^:]*)$/.exec(text)?.groups
  if (!parts) throw new Error('write it as :8090, 127.0.0.1:8090 or [::1]:8090')
  const { v6, v4, port = '' } = parts
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    throw new Error('the port is a number from 0 to 65535, such as :8090')
  if (v6 !== undefined && isIP(v6) !== 6)
    throw new Error('in brackets goes an IPv6 address, such as [::1]:8090')
  if (v4 && !isIPv4(v4))
    throw new Error('the host is an IP address, such as 127.0.0.1:8090; leave it out to listen on every one')
  return { host: v6 ?? (v4 || null), port: Number(port) }
}

/** An address as one writes it before a port. */
export function formatListen({ host, port }: Listen): string {
  return `${host === null ? '' : isIP(host) === 6 ? `[${host}]` : host}:${port}`
}

/**
 * Reads where the workload answers: an http(s) URL of this very pod with a port, and nothing else. Throws an Error
 * that says what to write instead.
 */
export function parseTarget(text: string): Target {
  const like = 'such as http://127.0.0.1:7860'
  // URL drops a scheme's usual port, so that :80 and no port at all can be told apart only in the text.
  const port = /^https?:\/\/(?:\[[^\]]*\]|[^/:@?#]*):(\d+)\/?$/i.exec(text)?.[1]
  if (!URL.canParse(text) || !/^https?:/i.test(text))
    throw new Error(`write it as an http or https URL, ${like}`)
  const url = new URL(text)
  if (url.username || url.password) throw new Error(`leave out user and password, ${like}`)
  if (url.pathname !== '/' || url.search || url.hash)
    throw new Error(`leave out everything after the port, ${like}`)
  if (!isLoopback(url.hostname))
    throw new Error(`the workload runs beside the agent: use a loopback address, ${like}`)
  if (port === undefined) throw new Error(`name the port, ${like}`)
  if (Number(port) === 0) throw new Error(`the port is a number from 1 to 65535, ${like}`)
  return { origin: `${url.protocol}//${url.hostname}:${Number(port)}`, port: Number(port) }
}

/** Reads `langflow-members:8090`, `10.0.0.7:8090` or `[fd00::7]:8090`. Throws an Error that says what to write instead. */
export function parsePeers(text: string): Peer {
  const parts = /^(?:\[(?<v6>[^\]]*)\]|(?<name>[^:[\]]+)):(?<port>[^:]*)$/.exec(text)?.groups
  if (!parts) throw new Error('write it as langflow-members:8090, 10.0.0.7:8090 or [fd00::7]:8090')
  const { v6, name = '', port = '' } = parts
  if (!/^\d{1,5}$/.test(port) || Number(port) === 0 || Number(port) > 65_535)
    throw new Error('the port is a number from 1 to 65535, such as langflow-members:8090')
  if (v6 !== undefined && isIP(v6) !== 6)
    throw new Error('in brackets goes an IPv6 address, such as [fd00::7]:8090')
  if (v6 === undefined && !DNS_NAME.test(name))
    throw new Error('the host is a DNS name or an IP address, such as langflow-members:8090')
  return { host: v6 ?? name, port: Number(port) }
}

const DNS_NAME = /^(?=.{1,253}$)[a-z\d]([-a-z\d]*[a-z\d])?(\.[a-z\d]([-a-z\d]*[a-z\d])?)*\.?$/i

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'))
}
