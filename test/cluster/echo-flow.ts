import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from '../harness/client.ts'
import { ECHO_PATH, flowRequest, outputOf } from '../harness/langflow.ts'
import { LangflowUser } from '../harness/langflow-items.ts'
import { mono } from '../harness/wait.ts'
import type { Installation } from './installation.ts'
import type { Answer } from './workload.ts'

const FLOW = join(import.meta.dirname, '../harness/flows/echo-flow.py')
const TEXT = 'who is there?'

/** Logs in as the user whose password is in the installation's Secret. */
export async function loggedIn(one: Installation): Promise<LangflowUser> {
  const path = '--output=jsonpath={.data.superuser-password}'
  const password = Buffer.from(await one.kubectl('get', 'secret', 'langflow', path), 'base64').toString()
  const body = new URLSearchParams({ username: 'langflow', password })
  const { access_token } = await new LangflowUser(one.url, {}).make('/api/v1/login', body)
  return new LangflowUser(one.url, { authorization: `Bearer ${access_token}` })
}

/**
 * Uploads the flow `echo`, made from the components of the LangFlow in the cluster, and makes an API key. Then it replaces the
 * installation's client by one that runs this flow through the Service. A run can't be repeated, so none is.
 */
export async function runFlows(one: Installation, everyMs: number, withinMs: number): Promise<void> {
  const user = await loggedIn(one)
  const [pod] = await one.pods()
  const python = ['exec', '--stdin', pod?.metadata.name ?? '', '--container=langflow', '--', 'sh', '-c']
  const script = 'python - /tmp/echo.json >&2 && cat /tmp/echo.json'
  const source = readFileSync(FLOW, 'utf8')
  const flow = await one.kube.kubectl([`--namespace=${one.namespace}`, ...python, script], source)
  await user.make('/api/v1/flows/', JSON.parse(flow))
  const { api_key } = await user.make('/api/v1/api_key/', { name: 'echo' })
  const asked = flowRequest(TEXT, api_key)
  const target = { to: 'langflow', url: `${one.url}${ECHO_PATH}` }
  const read = (text: string): Answer => {
    if (outputOf(text) !== TEXT) throw new Error('the answer is not the output of the flow')
    return { replica: '', epoch: 0, pid: 0, mono: mono() }
  }
  await one.client.stop()
  one.client = new Client({ everyMs, withinMs, target: () => target, asked, read })
}
