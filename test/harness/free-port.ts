import { createServer } from 'node:net'

/** Number of ports that one test process uses before it starts over. */
const SLICE = 400
const SLICES = 30
// Concurrent test processes mostly have different pids modulo SLICES, and so different ports.
const first = 20_000 + (process.pid % SLICES) * SLICE
let next = Math.floor(Math.random() * SLICE)

/**
 * A loopback port that is free now. It is below the kernel's range for outgoing connections, so that no connection takes it by
 * chance while its server is down. The next call returns another port, because the caller may bind this one much later.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = first + (next++ % SLICE)
    const server = createServer()
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    if (free) return port
  }
}
