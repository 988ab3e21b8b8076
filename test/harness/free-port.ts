import { createServer } from 'node:net'

/** Ports that one process of the tests gives out before it begins again. */
const SLICE = 400
const SLICES = 30
// Other processes of the tests mostly have another slice.
const first = 20_000 + (process.pid % SLICES) * SLICE
let next = Math.floor(Math.random() * SLICE)

/**
 * A loopback port that is free now, below the range that the kernel gives to outgoing connections: nothing takes
 * it by chance while its server is down. Another call has another one: it may be a while until its server is there.
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
