import { lookup } from 'node:dns/promises'
import type { Peer } from '../config/values.ts'
import { codeOf, originOf } from './status-requests.ts'

const MOST_PEERS = 32

export type Resolve = (host: string) => Promise<readonly string[]>

export interface Found {
  /** Where agents may answer, such as `http://10.0.0.7:8090`; each once, and at most 32. */
  readonly origins: readonly string[]
  /** What is wrong, one sentence for each name that cannot be resolved. */
  readonly problems: readonly { readonly host: string; readonly problem: string }[]
}

/** Looks up all names at once. Never rejects. */
export async function find(at: readonly Peer[], resolve: Resolve = addressesOf): Promise<Found> {
  const origins = new Set<string>()
  const problems: { host: string; problem: string }[] = []
  await Promise.all(
    at.map(async ({ host, port }) => {
      try {
        for (const address of await resolve(host)) origins.add(originOf(address, port))
      } catch (error) {
        problems.push({ host, problem: `the peers' name ${host} cannot be resolved: ${codeOf(error)}` })
      }
    }),
  )
  return { origins: [...origins].slice(0, MOST_PEERS), problems }
}

async function addressesOf(host: string): Promise<string[]> {
  return (await lookup(host, { all: true })).map(({ address }) => address)
}
