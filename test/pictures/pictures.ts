// `npm run pictures`: takes the pictures in docs/images from a running demo, after one switchover and one crash.

import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { chromium } from 'playwright-core'
import type { ReplicaRow } from '../../agent/status/agent-status.ts'
import { DemoProcess } from '../demo/demo-process.ts'
import { CHROMIUM } from '../harness/browser.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { until } from '../harness/wait.ts'
import { terminal } from './terminal.ts'

const DIR = join(import.meta.dirname, '../../docs/images')
const MOST_BYTES = 200 * 1024
const WITHIN_MS = 120_000

const run = promisify(execFile)
const demo = new DemoProcess(['--stay'])
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
try {
  await demo.line(/^All three replicas run/)
  await demo.line(/replica-c +http/)
  const found = (pattern: RegExp) => pattern.exec(demo.stdout.join('\n'))?.[1] ?? ''
  const kubeconfig = found(/KUBECONFIG=(\S+)/)
  const page = (pod: string) => found(new RegExp(`${pod} +(http\\S+)`))
  const command = async (...args: string[]) => {
    const env = { ...process.env, KUBECONFIG: kubeconfig, FORCE_COLOR: '1', COLUMNS: '200' }
    return (await run(process.execPath, [BUNDLE, ...args], { env })).stdout
  }
  const leads = (pod: string) =>
    until(
      `${pod} leads, and two replicas could take over`,
      async () => {
        const answer = await fetch(new URL('/replicas', page(pod))).catch(() => null)
        const rows = ((await answer?.json()) ?? []) as ReplicaRow[]
        const ready = rows.filter(({ status }) => status?.couldTakeOver)
        return rows[0]?.status?.traffic.gate === 'open' && ready.length === 2
      },
      WITHIN_MS,
    )
  const leaderNow = async () =>
    ((await (await fetch(new URL('/leader', page('replica-a')))).json()) as { holder: string }).holder

  const first = await leaderNow()
  await leads(first)
  const [second, third] = ['replica-a', 'replica-b', 'replica-c'].filter((pod) => pod !== first) as [
    string,
    string,
  ]
  await command('switchover', '--to', second, '--yes')
  await leads(second)
  // The third replica's page answers throughout, since its pod is not deleted.
  const { server } = JSON.parse(readFileSync(kubeconfig, 'utf8')).clusters[0].cluster
  await fetch(`${server}/api/v1/namespaces/default/pods/${second}`, { method: 'DELETE' })
  let leader = second
  await until(
    'another replica leads',
    async () => {
      const answer = await fetch(new URL('/leader', page(third)))
      leader = ((await answer.json()) as { holder: string }).holder
      return leader !== '' && leader !== second
    },
    WITHIN_MS,
  )
  await leads(leader)

  mkdirSync(DIR, { recursive: true })
  const tab = await browser.newPage({ viewport: { width: 1200, height: 1000 } })
  await tab.goto(page(leader))
  await tab.getByText('Reported by').waitFor()
  await tab.screenshot({ path: join(DIR, 'page.png'), fullPage: true })

  const text = await command('status')
  const shell = await browser.newPage({ deviceScaleFactor: 1.5, viewport: { width: 1600, height: 800 } })
  await shell.setContent(terminal('langflow-leader status', text))
  await shell.locator('body').screenshot({ path: join(DIR, 'status.png') })

  for (const name of ['page.png', 'status.png']) {
    const { size } = statSync(join(DIR, name))
    if (size > MOST_BYTES) throw new Error(`${name} has ${size} bytes, more than ${MOST_BYTES}`)
    process.stdout.write(`docs/images/${name}: ${Math.round(size / 1024)} KiB\n`)
  }
} finally {
  await browser.close()
  await demo.dispose()
}
