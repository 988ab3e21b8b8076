import { Socket } from 'node:net'
import type { Command } from 'commander'
import { systemClock } from '../clock.ts'
import { SHARED_SETTINGS } from '../config/schema.ts'
import { variableOf } from '../config/setting.ts'

/** The pipe to the agent; its messages are in agent/front/front-messages.ts. */
const CHANNEL = 3

export function addFront(program: Command): void {
  // Hidden, since only an agent with --traffic=front can use it.
  const command = program.command('front', { hidden: true }).action(async () => {
    let channel: Socket
    try {
      channel = new Socket({ fd: CHANNEL })
    } catch {
      return command.error('only an agent with --traffic=front can start this command: it has no pipe')
    }
    const [{ serveFront }, { createLog }] = await Promise.all([
      import('../front/front.ts'),
      import('../observe/log.ts'),
    ])
    // The agent ends the front over the channel, even if the whole process group receives the signal.
    process.on('SIGTERM', () => {})
    process.on('SIGINT', () => {})
    const { fallback, parse } = SHARED_SETTINGS.logLevel
    const level = parse(process.env[variableOf('--log-level')] ?? fallback)
    const log = createLog({ component: 'front', level, identity: '' })
    await serveFront(channel, { clock: systemClock, log })
    process.exit()
  })
}
