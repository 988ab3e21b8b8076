import assert from 'node:assert/strict'
import type { Page } from 'playwright-core'
import { openBrowser, openTab } from '../harness/browser.ts'
import { langflowTests, runEcho } from '../harness/langflow.ts'
import type { Line } from '../harness/logged-process.ts'
import { LEASE } from '../harness/scene.ts'

const langflowTest = await langflowTests()

langflowTest(
  'no request fails in a switchover while a user builds and runs a flow in the browser',
  async ({ scene, postgres }, t) => {
    const LANGFLOW_DATABASE_URL = await postgres.newDatabase()
    const replica = (identity: string, standby: 'cold' | 'warm') =>
      scene.withFront(identity, {
        command: [scene.binary, 'run'],
        flags: [`--standby=${standby}`],
        env: { LANGFLOW_DATABASE_URL },
      })
    const a = await replica('a', 'cold')
    await scene.serves(a)
    const b = await replica('b', 'warm')
    await scene.standsBy(b)

    // Requests pass through two fronts before the switchover, and through one after it.
    const origin = `http://127.0.0.1:${b.front}`
    const page = await openTab(t, await openBrowser(t), { viewport: { width: 1400, height: 900 } })
    const failed: string[] = []
    page.on('response', (response) => {
      if (response.status() >= 400) failed.push(`${response.status()} ${response.url()}`)
    })
    page.on('requestfailed', (request) => {
      // The page also calls other origins, and a request that it aborts itself didn't fail.
      const why = request.failure()?.errorText
      if (request.url().startsWith(origin) && why !== 'net::ERR_ABORTED')
        failed.push(`${why} ${request.url()}`)
    })
    await page.goto(`${origin}/flows`)
    // The page saves the flow automatically after some seconds.
    const saved = page.waitForResponse((response) => response.request().method() === 'PATCH')
    await buildEcho(page)
    await saved
    await page.getByTestId('playground-btn-flow-io').click()
    await chat(page, 'before it')

    await scene.kubectl('annotate', 'lease', LEASE, 'langflow-leader/switchover-to=*')
    const draining = await a.event('draining')
    const began = performance.now()
    await chat(page, 'while it goes on')
    t.diagnostic(`answered after ${Math.round(performance.now() - began)} ms`)
    const moments = [await a.event('workload_stopped'), await a.event('released'), await b.event('serving')]
    const after = (line: Line) => Date.parse(line.time) - Date.parse(draining.time)
    t.diagnostic(moments.map((line) => `${line.event} after ${after(line)} ms`).join(', '))
    assert.equal(scene.watch.last().holder, 'b')
    await chat(page, 'after it')
    assert.deepEqual(failed, [])

    await page.reload()
    await page.getByTestId('playground-btn-flow-io').click()
    for (const text of ['before it', 'while it goes on', 'after it']) await shown(page, text)
    assert.equal(await runEcho(a.front, 'through the one that led'), 'through the one that led')
    assert.deepEqual(failed, [])
  },
)

/** Builds a flow with a connected Chat Input and Chat Output. */
async function buildEcho(page: Page): Promise<void> {
  const click = (name: string) => page.getByTestId(name).click()
  const search = async (text: string) => {
    await click('sidebar-search-input')
    await page.getByTestId('sidebar-search-input').fill(text)
  }
  await page.getByTestId('new-project-btn').or(page.getByTestId('new_project_btn_empty_page')).first().click()
  await click('flow-builder-welcome-blank-flow')
  await click('assistant-onboarding-dismiss')
  await click('components')
  await search('chat input')
  await page.getByTestId('input_outputChat Input').hover()
  await click('add-component-button-chat-input')
  await search('chat output')
  const canvas = page.locator('#react-flow-id')
  await page.getByTestId('input_outputChat Output').dragTo(canvas, { targetPosition: { x: 800, y: 300 } })
  await click('handle-chatinput-noshownode-chat message-source')
  await click('handle-chatoutput-noshownode-inputs-target')
}

/** Sends a message in the playground, and waits for the flow's answer, which repeats it. */
async function chat(page: Page, text: string): Promise<void> {
  await page.getByTestId('input-chat-playground').fill(text)
  await page.getByTestId('button-send').click()
  await shown(page, text)
}

function shown(page: Page, text: string): Promise<void> {
  return page.getByText(text, { exact: true }).nth(1).waitFor()
}
