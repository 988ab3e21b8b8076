import { ApiError, type ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import type { OpenWatch, WatchHandlers } from '../../agent/lease/lease-api.ts'
import type { Watcher } from './api-server.ts'
import type { Connection } from './network.ts'
import type { Process } from './process.ts'
import type { Replica } from './replica.ts'
import type { World } from './world.ts'

/** Time from a connection's death until the kernel closes it, because TCP keep-alive gets no reply. */
const KEEP_ALIVE_MS = 25_000

/** A watch over one connection. Events arrive in order, but they may be late or stop. */
export function openWatch(
  replica: Replica,
  { server, random, timeline, judge }: World,
  process: Process,
  connection: Connection,
  handlers: WatchHandlers,
): Watcher & OpenWatch {
  const { network, knowledge } = replica
  const held: (() => void)[] = []
  let open = true
  let givenUp = false
  let lastArrival = 0
  const isSilent = () => network.has(({ cut, watchSilent }) => cut || watchSilent)

  const transmit = (deliver: () => void) => {
    // A connection is a byte stream, so no event overtakes an earlier one.
    lastArrival = Math.max(lastArrival, timeline.now + network.latency() + network.lag())
    timeline.at(lastArrival, () => process.deliver(() => open && !connection.dead && deliver()))
  }
  const send = (deliver: () => void) => {
    if (!open || connection.dead) return
    if (isSilent()) held.push(deliver)
    else transmit(deliver)
  }
  const end = (error?: ApiError) => {
    if (!open) return
    stream.close()
    handlers.ended(error)
  }

  const offNetwork = network.onChange(() => {
    if (network.has(({ watchCut }) => watchCut)) {
      server.unwatch(stream)
      process.deliver(() => end(new ApiError('network', 'the watch was cut')))
    } else if (held.length > 0 && !isSilent()) {
      // A device on the path may have dropped the connection's state. It then stays open, but no event arrives.
      if (random.chance(0.3)) connection.dead = true
      else for (const deliver of held) transmit(deliver)
      held.length = 0
    }
    if (!connection.dead || givenUp) return
    // The kernel's keep-alive probes get no reply, so it closes the connection in the end.
    givenUp = true
    process.after(KEEP_ALIVE_MS, () => end(new ApiError('network', 'the watch is dead')))
  })

  const stream = {
    push: (event: Parameters<Watcher['push']>[0]) =>
      send(() => {
        knowledge.answered()
        if (event.type === 'changed') judge.received(replica, event.object)
        handlers.event(event)
      }),
    end: (code?: ApiErrorCode) =>
      send(() => end(code === undefined ? undefined : new ApiError(code, `the watch: ${code}`))),
    close() {
      open = false
      offNetwork()
      server.unwatch(stream)
      network.disconnect(connection)
    },
  }
  process.onDeath(() => stream.close())
  return stream
}
