import type { TestContext } from 'node:test'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

export const CHROMIUM = '/usr/bin/chromium'

/** Ends a test that hangs; it's no measured limit. */
const HANGS_MS = 90_000

/** A browser that ends with the test, or with the file whose `after` is given. */
export async function openBrowser(t: { after(end: () => Promise<void>): void }): Promise<Browser> {
  // Chromium's sandbox doesn't work for root. The browser only opens pages from the tests.
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })
  t.after(() => browser.close())
  return browser
}

export async function openTab(
  t: TestContext,
  browser: Browser,
  options: BrowserContextOptions = {},
): Promise<Page> {
  const context = await browser.newContext(options)
  t.after(() => context.close())
  context.setDefaultTimeout(HANGS_MS)
  return context.newPage()
}
