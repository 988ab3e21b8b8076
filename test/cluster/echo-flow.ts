import { Client } from '../harness/client.ts'
import { ECHO_PATH, flowRequest, outputOf } from '../harness/langflow.ts'
import { commandsOf } from '../harness/readme.ts'
import { mono } from '../harness/wait.ts'
import type { Installation } from './installation.ts'
import { UserShell } from './user-shell.ts'
import type { Answer } from './workload.ts'

const TEXT = 'who is there?'

/** The commands of the guide that contain `text`. */
export const commandsOfGuide = (text: string): string => commandsOf('docs/guide/first-flow.md', text)

/** The commands that make an API key, print it in a line, and upload the flow `echo`. */
export const MAKE_KEY = `${commandsOfGuide('api_key')}echo "$KEY"\n`

/**
 * Makes the flow `echo` and an API key. Then it replaces the installation's client by one that runs this flow through the
 * Service. A run can't be repeated, so none is.
 */
export async function runFlows(one: Installation, everyMs: number, withinMs: number): Promise<void> {
  using user = await UserShell.open(one)
  const key = (await user.run(MAKE_KEY.replace('http://localhost:7860', one.url))).trim()
  const asked = flowRequest(TEXT, key)
  const target = { to: 'langflow', url: `${one.url}${ECHO_PATH}` }
  const read = (text: string): Answer => {
    if (outputOf(text) !== TEXT) throw new Error('the answer is not the output of the flow')
    return { replica: '', epoch: 0, pid: 0, mono: mono() }
  }
  await one.client.stop()
  one.client = new Client({ everyMs, withinMs, target: () => target, asked, read })
}
