// What the script uses of a browser: the program itself is none, and has no such names.
interface Page extends PageNode {
  readonly hidden: boolean
  title: string
  addEventListener(type: 'visibilitychange', listener: () => void): void
  querySelector(selector: string): PageElement | null
}
interface PageNode {
  readonly nodeName: string
  /** Of an element; '': it has none. */
  readonly id?: string
  readonly nextSibling: PageNode | null
  readonly firstChild: PageNode | null
  readonly childNodes: Iterable<PageNode>
  textContent: string | null
  insertBefore(node: PageNode, before: PageNode | null): void
  remove(): void
}
interface PageElement extends PageNode {
  readonly id: string
  readonly attributes: Iterable<{ readonly name: string; readonly value: string }>
  readonly children: Iterable<PageElement>
  readonly dataset: Readonly<Record<string, string>>
  hidden: boolean
  getAttribute(name: string): string | null
  setAttribute(name: string, value: string): void
  removeAttribute(name: string): void
  animate(frames: object[], timing: object): { cancel(): void; pause(): void }
}
declare const document: Page
declare const DOMParser: new () => { parseFromString(text: string, type: 'text/html'): Page }
declare const location: { reload(): void }
declare const matchMedia: (query: string) => { readonly matches: boolean }

/**
 * Runs in the browser, from its own text: it may use nothing from outside of it. It asks the replica once a second for the
 * same page, and changes what has changed, so that focus, what is unfolded, and selected text stay as they are.
 */
export function live(): void {
  const EVERY_MS = 1_000
  const DEADLINE_MS = 5_000
  let seenAt = performance.now()
  let bar: ReturnType<PageElement['animate']> | undefined

  /** What is to become `child`, at or after `at`: of the same kind, and of the same id where it has one. */
  function counterpart(at: PageNode | null, { nodeName, id }: PageNode): PageNode | null {
    if (nodeName.startsWith('#')) return at?.nodeName === nodeName ? at : null
    for (let one = at; one; one = one.nextSibling) if (one.nodeName === nodeName && one.id === id) return one
    return null
  }

  /** Makes `now` what `next` is. */
  function become(now: PageElement, next: PageElement): void {
    for (const { name, value } of next.attributes)
      if (now.getAttribute(name) !== value) now.setAttribute(name, value)
    // What a reader has unfolded stays so.
    for (const { name } of [...now.attributes])
      if (next.getAttribute(name) === null && name !== 'open') now.removeAttribute(name)
    const ids = new Set([...next.children].map(({ id }) => id).filter((id) => id !== ''))
    let at = now.firstChild
    const drop = (gone: PageNode) => {
      at = gone.nextSibling
      gone.remove()
    }
    for (const child of [...next.childNodes]) {
      const same = counterpart(at, child)
      if (!same) {
        now.insertBefore(child, at)
        continue
      }
      // What is gone goes first: what is moved instead would lose the focus.
      while (at && at !== same && !ids.has(at.id ?? '')) drop(at)
      if (at !== same) now.insertBefore(same, at)
      if (!same.nodeName.startsWith('#')) become(same as PageElement, child as PageElement)
      else if (same.textContent !== child.textContent) same.textContent = child.textContent
      at = same.nextSibling
    }
    while (at) drop(at)
  }

  /** Lets the bar drain in between. */
  function drain(): void {
    bar?.cancel()
    const left = document.querySelector('#left')
    if (!left || matchMedia('(prefers-reduced-motion: reduce)').matches) return
    const duration = Number(left.dataset.left)
    const frames = [{ transform: 'scaleX(1)' }, { transform: 'scaleX(0)' }]
    if (duration > 0) bar = left.animate(frames, { duration, fill: 'forwards' })
  }

  function tell(problem: string | null): void {
    const stale = document.querySelector('#stale')
    const main = document.querySelector('main')
    if (!stale || !main) return
    stale.hidden = problem === null
    if (problem === null) {
      main.removeAttribute('class')
      return
    }
    main.setAttribute('class', 'stale')
    bar?.pause()
    const s = Math.round((performance.now() - seenAt) / 1_000)
    stale.textContent = `This replica ${problem}. Last seen ${s} s ago; asked again each second.`
  }

  async function update(): Promise<void> {
    let text: string
    try {
      const answer = await fetch('./', { cache: 'no-store', signal: AbortSignal.timeout(DEADLINE_MS) })
      if (!answer.ok) return tell(`answers ${answer.status}`)
      text = await answer.text()
    } catch {
      return tell('does not answer')
    }
    const next = new DOMParser().parseFromString(text, 'text/html')
    const part = (page: Page, name: string) => page.querySelector(name)
    const isOfOtherVersion = (name: string) =>
      part(document, name)?.textContent !== part(next, name)?.textContent
    if (['script', 'style'].some(isOfOtherVersion)) return location.reload()
    seenAt = performance.now()
    tell(null)
    document.title = next.title
    for (const name of ['main', 'footer'])
      become(part(document, name) as PageElement, part(next, name) as PageElement)
    drain()
  }

  let busy = false
  let timer: ReturnType<typeof setTimeout> | undefined
  async function go(): Promise<void> {
    clearTimeout(timer)
    // Nobody looks; whoever looks again wants to see what is, and not what was.
    if (busy || document.hidden) return
    busy = true
    await update()
    busy = false
    timer = setTimeout(() => void go(), EVERY_MS)
  }
  document.addEventListener('visibilitychange', () => void go())
  drain()
  timer = setTimeout(() => void go(), EVERY_MS)
}
