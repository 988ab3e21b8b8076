import { once } from 'node:events'
import { openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { systemClock } from '../clock.ts'
import { FatalError } from '../exit.ts'
import { type Beat, RHYTHMS } from './overlap.ts'

/** LangFlow's own two health answers. */
const HEALTH: Readonly<Record<string, object>> = {
  '/health': { status: 'ok' },
  '/health_check': { status: 'ok', chat: 'ok', db: 'ok' },
}

/**
 * A small stand-in for LangFlow: answers on its port, names its replica and epoch, beats for as long as it executes,
 * and ends on SIGTERM once the requests in flight are answered.
 */
export async function serveStandIn(port: number, beatsDir: string, env: NodeJS.ProcessEnv): Promise<void> {
  const { LEADER_IDENTITY: replica, LEADER_EPOCH: epoch } = env
  if (!replica || !epoch) throw new FatalError('demo-workload is for the demo: run langflow-leader demo')
  const beating = beat(join(beatsDir, `${replica}.${epoch}.${process.pid}`))
  const hello = { replica, epoch: Number(epoch), text: `Hello from ${replica}, leader in epoch ${epoch}.` }
  const server = createServer(({ url = '' }, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(`${JSON.stringify(HEALTH[url] ?? hello)}\n`)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  await once(process, 'SIGTERM')
  server.close()
  server.closeIdleConnections()
  await once(server, 'close')
  clearInterval(beating)
}

/**
 * Writes the monotonic time to a file of the process's own, at once and then in each period, for as long as it executes. Each line
 * is one write(2), so that SIGKILL leaves nothing unwritten.
 */
function beat(file: string): NodeJS.Timeout {
  const fd = openSync(file, 'a')
  const once = () => writeSync(fd, `${systemClock.mono()}\n`)
  once()
  return setInterval(once, RHYTHMS.beats.periodMs)
}

/** All that the workloads wrote; an actor is `REPLICA.EPOCH.PID`. A last line that SIGKILL cut short is left out. */
export function readBeats(dir: string): Beat[] {
  return readdirSync(dir).flatMap((actor) => {
    const lines = readFileSync(join(dir, actor), 'latin1').split('\n').slice(0, -1)
    return lines.map((line) => ({ actor, at: Number(line) }))
  })
}
