import type { Command } from 'commander'
import { addFlags, group, onOff, optional, readFlags, setting, type Values } from '../config/setting.ts'
import { parseDuration } from '../config/values.ts'
import { ANYBODY, describeTarget } from '../lease/operator-annotations.ts'
import { OPERATE_SETTINGS, OUTPUT_SETTINGS } from './cluster-settings.ts'

const SWITCHOVER_SETTINGS = {
  ...group('Switchover', {
    to: optional('<pod>', describeTarget(ANYBODY), 'who is to lead', parsePod),
    yes: { ...onOff('do not ask; needed where there is no terminal to ask on'), short: '-y' },
    wait: setting(
      '[boolean]',
      'true',
      'look on until the other one serves; --wait=false returns once the Lease says what is wanted',
      parseBoolean,
    ),
    timeoutMs: setting(
      '<duration>',
      '2m',
      'how long to look on; the request is taken back then, unless the leader has begun with it',
      (text) => parseDuration(text, 1_000),
    ),
  }),
  ...OPERATE_SETTINGS,
  ...OUTPUT_SETTINGS,
}

export type SwitchoverOptions = Values<typeof SWITCHOVER_SETTINGS>

/** Adds the flags to its command, and returns what reads them: it ends with a usage error where something is wrong. */
export function switchoverOptions(command: Command): () => SwitchoverOptions {
  addFlags(command, SWITCHOVER_SETTINGS)
  return () => readFlags(command, SWITCHOVER_SETTINGS)
}

/** As kubectl prints it, `pod/langflow-0`, or its name alone; `*`: whoever is prepared best. */
function parsePod(text: string): string {
  const name = text.replace(/^pods?\//, '')
  if (name === ANYBODY || /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(name)) return name
  throw new Error('give the name of a pod, such as langflow-1, or leave it out')
}

/** A flag alone says `true`. */
function parseBoolean(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  throw new Error('use true or false')
}
