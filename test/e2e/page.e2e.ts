import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { pageOf } from '../../agent/observe/page.ts'
import type { ReplicaRow } from '../../agent/status/agent-status.ts'
import { follows, leads } from '../cli/agents.ts'
import { openBrowser, openTab } from '../harness/browser.ts'
import { silent } from '../observe/replica.ts'

const browser = await openBrowser({ after })

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
    const page = await openTab(t, browser, { viewport: { width, height: 800 } })
    // Without its refresh, which could come in the middle.
    await page.setContent(pageOf(everything()).replace(/<meta http-equiv.*>/, ''))
    assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width)
  })
}
