import { once } from 'node:events'
import type { AddressInfo, Server } from 'node:net'
import { formatListen, type Listen } from '../config/values.ts'
import { FatalError } from '../exit.ts'

/** The largest queue of unaccepted connections that the kernel allows. A client without room tries again a second later. */
const BACKLOG = 4096

const CAUSES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program has the port; stop it or choose another port',
  EACCES: 'not permitted; choose a port from 1024',
  EADDRNOTAVAIL: 'this machine does not have the address; choose another',
}

/**
 * Without a host, listens on every address, IPv4 and IPv6, or only on IPv4 if the machine has no IPv6. Rejects with a
 * `FatalError` that names the flag if the address is not available.
 */
export async function listenOn(server: Server, where: Listen, flag: string): Promise<AddressInfo> {
  const { host, port } = where
  try {
    await once(server.listen({ ...(host !== null && { host }), port, backlog: BACKLOG }), 'listening')
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    const cause = CAUSES[code] ?? `${message}; choose another address`
    throw new FatalError(`cannot listen on ${formatListen(where)}: ${cause} with ${flag}`, { cause: error })
  }
  return server.address() as AddressInfo
}
