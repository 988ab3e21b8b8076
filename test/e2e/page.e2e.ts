import assert from 'node:assert/strict'
import { before, describe, type TestContext, test } from 'node:test'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { openBrowser, openTab } from '../harness/browser.ts'
import { freePort } from '../harness/free-port.ts'
import { FAST } from '../harness/replica.ts'
import { EmbeddedScene } from '../harness/scene.ts'
import { serve } from '../observe/client.ts'
import { follows, leads } from '../observe/page/replicas.ts'
import { Replica, silent } from '../observe/replica.ts'

let browser: Browser
before(async (t) => {
  browser = await openBrowser(t as TestContext)
})

function verdict(page: Page, sentence: string): Promise<void> {
  return page.getByRole('heading', { level: 1, name: sentence, exact: true }).waitFor()
}

test('open pages follow a change of the leader without a reload, including the page of a replica that was down', async (t) => {
  const scene = await EmbeddedScene.open(t)
  const [pa, pb] = [await freePort(), await freePort()]
  const peers = `--peers=127.0.0.1:${pa},127.0.0.1:${pb}`
  const flags = (port: number) => [...FAST, `--listen=127.0.0.1:${port}`, peers]
  const a = await scene.replica('a', { flags: flags(pa) })
  await a.event('serving')
  const b = await scene.replica('b', { flags: flags(pb) })
  await b.event('standby_ready')

  const leaders = await openTab(t, browser)
  const { page, complaints } = await openTab(t, browser)
  await leaders.page.goto(`http://127.0.0.1:${pa}/`)
  await page.goto(`http://127.0.0.1:${pb}/`)
  await verdict(page, 'Leader: a. Can take over: b.')
  await page.evaluate('window.same = true')

  for (const pid of [a.launcherPid(), a.workloadPid(), a.pid]) process.kill(pid, 'SIGKILL')
  await leaders.page.getByText('This replica does not answer').waitFor()
  await verdict(page, 'Leader: b. Can take over: no replica.')
  await page.getByText('no answer', { exact: true }).waitFor()

  const c = await scene.replica('c', { flags: flags(pa) })
  await c.event('standby_ready')
  for (const tab of [page, leaders.page]) await verdict(tab, 'Leader: b. Can take over: c.')
  await leaders.page.locator('#stale').waitFor({ state: 'hidden' })
  assert.equal(await page.evaluate('window.same'), true)
  assert.deepEqual(complaints, [])
  // Chromium logs these errors while the server is down.
  assert.deepEqual(
    leaders.complaints.filter((text) => !/net::ERR_(CONNECTION_\w+|EMPTY_RESPONSE)/.test(text)),
    [],
  )
})

/** Opens a page on replicas whose status the test sets. */
async function open(t: TestContext, replica: Replica, options: BrowserContextOptions = {}) {
  const server = await serve(t, replica)
  const tab = await openTab(t, browser, options)
  const url = `http://127.0.0.1:${server.port}/`
  return { ...tab, url, go: () => tab.page.goto(url) }
}

const LONG = 'langflow-production-europe-west-7d9c5b8f4'
const WORD = 'x'.repeat(300)

/** A replica with one of each thing that a page can show. */
function everything(): Replica {
  const standby = {
    mode: 'cold',
    wanted: 'warm',
    state: 'preparing',
    reason: WORD,
  } as const
  const { status } = leads(`${LONG}-a1b2c`, {
    problem: WORD,
    pause: { until: null, reason: WORD },
    switchover: { what: 'switchover', to: `${LONG}-d3e4f`, state: 'refused', reason: WORD },
  })
  const replica = new Replica(status!)
  const unable = { couldTakeOver: false, unable: WORD, decision: WORD }
  replica.others = [
    follows(`${LONG}-d3e4f`, { ...unable, standby }),
    follows(`${LONG}-g5h6i`),
    silent('10.0.0.7:8090'),
  ]
  return replica
}

describe('the page in a browser', { concurrency: 3 }, () => {
  test('executes no code from names and reasons, neither on load nor after an update', async (t) => {
    const hostile = `</script></style><img src=x onerror=window.hit=1><script>window.hit=1</script>"' onfocus=window.hit=1 autofocus x='`
    const replica = everything()
    const { page, complaints, go } = await open(t, replica)
    replica.now = { ...replica.now, identity: hostile, decision: hostile, problem: hostile }
    await go()
    await page.getByText(hostile).first().waitFor()
    replica.now = { ...replica.now, pause: { until: hostile, reason: `later ${hostile}` } }
    replica.others = [{ pod: hostile, node: hostile, status: null, problem: hostile }]
    await page.getByText(`later ${hostile}`).waitFor()
    assert.equal(await page.evaluate('window.hit'), undefined)
    assert.equal(await page.locator('img, script:not(body > script:last-child)').count(), 0)
    assert.deepEqual(complaints, [])
  })

  test('cannot load, run or send anything else because of its content security policy', async (t) => {
    const { page, complaints, go } = await open(t, everything())
    await go()
    await page.evaluate(`
      document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.hit = 1' }))
      document.body.append(Object.assign(document.createElement('img'), { src: '/livez' }))
      fetch('http://localhost:1/').catch(() => { window.sent = 'refused' })`)
    await page.waitForFunction('window.sent')
    assert.equal(await page.evaluate('window.hit'), undefined)
    for (const directive of ['script-src', 'default-src', 'connect-src'])
      assert.ok(
        complaints.some((text) => /Content Security Policy/.test(text) && text.includes(directive)),
        `${directive}: ${complaints}`,
      )
  })

  for (const width of [320, 390, 1280]) {
    test(`fits a screen of ${width} pixels even with long names`, async (t) => {
      const { page, go } = await open(t, everything(), { viewport: { width, height: 800 } })
      await go()
      await page.getByText('Reported by').waitFor()
      assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width)
    })
  }
})
