import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Page } from 'playwright-core'
import { pageOf } from '../../agent/observe/page.ts'
import type { ReplicaRow } from '../../agent/status/agent-status.ts'
import { openBrowser, openTab } from '../harness/browser.ts'
import { freePort } from '../harness/free-port.ts'
import { FAST } from '../harness/replica.ts'
import { EmbeddedScene } from '../harness/scene.ts'
import { silent } from '../observe/replica.ts'
import { follows, leads } from '../observe/replicas.ts'

const browser = await openBrowser({ after })

function verdict(page: Page, sentence: string): Promise<void> {
  return page.getByRole('heading', { level: 1, name: sentence, exact: true }).waitFor()
}

test('an open page follows a change of the leader', async (t) => {
  const scene = await EmbeddedScene.open(t)
  const [pa, pb] = [await freePort(), await freePort()]
  const peers = `--peers=127.0.0.1:${pa},127.0.0.1:${pb}`
  const flags = (port: number) => [...FAST, `--listen=127.0.0.1:${port}`, peers]
  const a = await scene.replica('a', { flags: flags(pa) })
  await a.event('serving')
  const b = await scene.replica('b', { flags: flags(pb) })
  await b.event('standby_ready')

  const { page, complaints } = await openTab(t, browser)
  await page.goto(`http://127.0.0.1:${pb}/`)
  await verdict(page, 'Leader: a. Can take over: b.')
  for (const pid of [a.launcherPid(), a.workloadPid(), a.pid]) process.kill(pid, 'SIGKILL')
  await verdict(page, 'Leader: b. Can take over: no replica.')
  await page.getByText('no answer', { exact: true }).waitFor()
  const c = await scene.replica('c', { flags: flags(pa) })
  await c.event('standby_ready')
  await verdict(page, 'Leader: b. Can take over: c.')
  assert.deepEqual(complaints, [])
})

const LONG = 'langflow-production-europe-west-7d9c5b8f4'
const WORD = 'x'.repeat(300)

/** The rows of replicas with one of each thing that a page can show. */
function everything(): ReplicaRow[] {
  const standby = { mode: 'cold', wanted: 'warm', state: 'preparing', reason: WORD } as const
  const leader = leads(`${LONG}-a1b2c`, {
    problem: WORD,
    pause: { until: null, reason: WORD },
    switchover: { what: 'switchover', to: `${LONG}-d3e4f`, state: 'refused', reason: WORD },
  })
  const unable = { couldTakeOver: false, unable: WORD, decision: WORD }
  const others = [follows(`${LONG}-d3e4f`, { ...unable, standby }), follows(`${LONG}-g5h6i`)]
  return [leader, ...others, silent('10.0.0.7:8090')]
}

for (const width of [320, 390, 1280]) {
  test(`the page fits a screen of ${width} pixels even with long names`, async (t) => {
    const { page } = await openTab(t, browser, { viewport: { width, height: 800 } })
    // Without its refresh, which could come in the middle.
    await page.setContent(pageOf(everything()).replace(/<meta http-equiv.*>/, ''))
    assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width)
  })
}
