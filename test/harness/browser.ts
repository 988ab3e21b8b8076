import type { TestContext } from 'node:test'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

/** Debian's. */
export const CHROMIUM = '/usr/bin/chromium'

/** Only the end of a test that hangs. */
const HANGS_MS = 90_000

/** A real browser, which ends with the test. */
export async function openBrowser(t: Pick<TestContext, 'after'>): Promise<Browser> {
  // Root has no sandbox of Chromium's; it sees nothing here but pages of ours.
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
  t.after(() => browser.close())
  return browser
}

export interface Tab {
  readonly page: Page
  /** Errors of scripts, of the console, and of the content security policy. */
  readonly complaints: string[]
}

/** A tab with nothing in it. */
export async function openTab(
  t: TestContext,
  browser: Browser,
  options: BrowserContextOptions = {},
): Promise<Tab> {
  const context = await browser.newContext(options)
  t.after(() => context.close())
  context.setDefaultTimeout(HANGS_MS)
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => {
    if (message.type() !== 'log') complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(`${error}`))
  return { page, complaints }
}
