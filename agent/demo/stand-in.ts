import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Clock } from '../clock.ts'
import { FatalError } from '../exit.ts'
import { beat } from './beats.ts'

/**
 * A small stand-in for LangFlow: answers on its port, names its replica and epoch, beats for as long as it executes,
 * and ends on SIGTERM once the requests in flight are answered. Resolves to the exit code.
 */
export async function serveStandIn(
  port: number,
  beatsDir: string,
  env: NodeJS.ProcessEnv,
  clock: Clock,
): Promise<number> {
  const { LEADER_IDENTITY: replica, LEADER_EPOCH: epoch } = env
  if (!replica || !epoch) throw new FatalError('demo-workload is for the demo: run langflow-leader demo')
  const stopBeating = beat(beatsDir, { replica, epoch: Number(epoch) }, clock)
  const server = createServer((request, response) => {
    const answer = ANSWERS[request.url?.split('?', 1)[0] ?? '']
    response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json' })
    response.end(`${JSON.stringify(answer?.(replica, Number(epoch)) ?? { error: 'ask for /' })}\n`)
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  await new Promise((resolve) => process.once('SIGTERM', resolve))
  server.close()
  server.closeIdleConnections()
  await once(server, 'close')
  stopBeating()
  return 0
}

/** LangFlow's own two health answers, and who acts. */
const ANSWERS: Readonly<Record<string, (replica: string, epoch: number) => object>> = {
  '/health': () => ({ status: 'ok' }),
  '/health_check': () => ({ status: 'ok', chat: 'ok', db: 'ok' }),
  '/': (replica, epoch) => ({ replica, epoch, text: `Hello from ${replica}, leader in epoch ${epoch}.` }),
}
