// biome-ignore lint/suspicious/noExplicitAny: the program has no types of a browser
declare const document: any, DOMParser: any, location: any

/**
 * Runs in the browser, from its own text: it may use nothing from outside of it. It asks the replica once a second for the same page,
 * and takes its main part.
 */
export function live(): void {
  const EVERY_MS = 1_000
  const DEADLINE_MS = 5_000
  const find = (selector: string, page = document) => page.querySelector(selector)
  let seenAt = performance.now()

  function show(next: typeof document): void {
    const same = (name: string) => find(name).textContent === find(name, next).textContent
    // A replica of another version answers now.
    if (!same('style') || !same('script')) location.reload()
    // A screen reader says what changes in an element that stays.
    if (!same('title')) find('#said').textContent = next.title
    document.title = next.title
    find('main').replaceWith(find('main', next))
  }

  async function update(): Promise<void> {
    let problem = 'does not answer'
    try {
      const answer = await fetch('./', { cache: 'no-store', signal: AbortSignal.timeout(DEADLINE_MS) })
      problem = answer.ok ? '' : `answers ${answer.status}`
      const text = await answer.text()
      if (answer.ok) show(new DOMParser().parseFromString(text, 'text/html'))
    } catch {}
    if (problem === '') seenAt = performance.now()
    const s = Math.round((performance.now() - seenAt) / 1_000)
    find('#stale').textContent = `This replica ${problem}. Last seen ${s} s ago; asked again each second.`
    find('#stale').hidden = problem === ''
    find('main').className = problem === '' ? '' : 'stale'
  }

  async function go(): Promise<void> {
    // Nobody looks at a hidden tab.
    if (!document.hidden) await update()
    setTimeout(go, EVERY_MS)
  }
  setTimeout(go, EVERY_MS)
}
