import { createServer, type Server } from 'node:net'

/** Number of ports that one test process uses before it starts over. */
const SLICE = 200
const SLICES = 60
const FROM = 20_000
let slice: Promise<number> | undefined
let next = Math.floor(Math.random() * SLICE)

/**
 * A loopback port that is free now. It is below the kernel's range for outgoing connections, so that no connection takes it by
 * chance while its server is down. The next call returns another port, because the caller may bind this one much later. No
 * other test process returns it: each has a slice of its own.
 */
export async function freePort(): Promise<number> {
  slice ??= claimSlice()
  const first = (await slice) + 1
  for (;;) {
    const port = first + (next++ % (SLICE - 1))
    const server = await listen(port)
    if (server === undefined) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}

/** The first port of a slice that no other process has. This process listens on it until it ends. */
async function claimSlice(): Promise<number> {
  for (let n = process.pid; ; n++) {
    const first = FROM + (n % SLICES) * SLICE
    const server = await listen(first)
    if (server !== undefined) {
      server.unref()
      return first
    }
  }
}

function listen(port: number): Promise<Server | undefined> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined))
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}
