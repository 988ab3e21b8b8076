import { lookup } from 'node:dns/promises'
import { Agent, type Dispatcher, request } from 'undici'
import { type Clock, deadlineAfter } from '../clock.ts'
import { formatListen, type Peer } from '../config/values.ts'
import type { Fault } from '../fault.ts'
import { CONSENT_HEADER } from '../observe/http-server.ts'
import { type AgentStatus, statusOf } from '../status/agent-status.ts'

const DEADLINE_MS = 1_000
export const LONGEST_ANSWER = 64 * 1024
const LONGEST_CONSENT = 4 * 1024

/** The answer of a peer, or the problem with it. */
export interface Reply {
  readonly from: string
  readonly status: AgentStatus | null
  readonly problem: Fault
  /** No agent has this address any longer. A slow agent is not gone, and may answer the next request. */
  readonly gone: boolean
}

/** Requests an agent's `/status`, within 1 s and with at most 64 KiB. Never rejects. `origin`: `http://10.0.0.7:8090`. */
export async function statusAt(
  origin: string,
  clock: Pick<Clock, 'after'>,
  dispatcher: Dispatcher,
): Promise<Reply> {
  using late = deadlineAfter(clock, DEADLINE_MS)
  const from = new URL(origin).host
  const failed = (how: string, gone = false): Reply => {
    return { from, status: null, problem: `peer ${origin} ${how}`, gone }
  }
  try {
    const { statusCode, text } = await exchange(new URL('/status', origin), late.signal, dispatcher)
    if (statusCode !== 200) return failed(`answered ${statusCode}`)
    const status = statusOf(parsed(text))
    if (status === null) return failed('did not answer with a status')
    return { from, status, problem: null, gone: false }
  } catch (error) {
    return late.signal.aborted
      ? failed(`did not answer within ${DEADLINE_MS / 1000} s`)
      : failed(`is not reachable: ${codeOf(error)}`, true)
  }
}

/** Sends a sealed request to the agent at `host:port`, and resolves to the sealed answer. */
export type SendConsent = (at: string, sealed: string, deadlineMs: number) => Promise<string>

export function consentSender(clock: Pick<Clock, 'after'>): SendConsent {
  const dispatcher = new Agent({ maxResponseSize: LONGEST_CONSENT })
  return async (at, sealed, deadlineMs) => {
    using late = deadlineAfter(clock, deadlineMs)
    const options = { method: 'POST', headers: { [CONSENT_HEADER]: sealed } } as const
    const url = new URL(`http://${at}/consent`)
    const { statusCode, text } = await exchange(url, late.signal, dispatcher, options)
    if (statusCode !== 200) throw new Error(`status ${statusCode}`)
    return text
  }
}

/** Over a new connection, because an old one may be dead. */
async function exchange(
  url: URL,
  signal: AbortSignal,
  dispatcher: Dispatcher,
  options: Pick<Dispatcher.RequestOptions, 'headers'> & { readonly method?: 'POST' } = {},
) {
  const { statusCode, body } = await request(url, { ...options, dispatcher, reset: true, signal })
  return { statusCode, text: await body.text() }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? (error as Error).message
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

const MOST_PEERS = 32

export type Resolve = (host: string) => Promise<readonly string[]>

/** Looks up all names concurrently. Never rejects. */
export async function find(at: readonly Peer[], resolve: Resolve = addressesOf) {
  const origins = new Set<string>()
  const unresolved: Reply[] = []
  await Promise.all(
    at.map(async ({ host, port }) => {
      try {
        for (const address of await resolve(host))
          origins.add(new URL(`http://${formatListen({ host: address, port })}`).origin)
      } catch (error) {
        const problem = `the name ${host} in --peers cannot be resolved: ${codeOf(error)}`
        unresolved.push({ from: host, status: null, problem, gone: false })
      }
    }),
  )
  return { origins: [...origins].slice(0, MOST_PEERS), unresolved }
}

async function addressesOf(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address)
}
