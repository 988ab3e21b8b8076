export const STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f6f4; --card: #fff; --ink: #1d2125; --faint: #5f676e; --line: #dcdfe1;
  --good: #19713d; --warning: #8a5a00; --bad: #b3261e; --news: #1f5fbf;
  --good-wash: #e5f3ea; --warning-wash: #fbf0d9; --bad-wash: #fbe7e5; --news-wash: #e5eefb;
  --detect: #8a949c; --acquire: #2f74d0; --start: #8a56c9; --healthy: #1a8f82;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121416; --card: #1b1e21; --ink: #e7e9eb; --faint: #9aa3ab; --line: #33383d;
    --good: #5cc98a; --warning: #e2b04a; --bad: #ff8a80; --news: #82b1ff;
    --good-wash: #14301f; --warning-wash: #352a10; --bad-wash: #3d1b19; --news-wash: #16273f;
    --detect: #7d8891; --acquire: #5b9bf0; --start: #b087ea; --healthy: #3fb8a9;
  }
}
* { box-sizing: border-box; margin: 0; }
body {
  font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
  color: var(--ink); background: var(--page); max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 3rem;
}
main.stale > * { opacity: .5; }
#said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
h1 { font-size: clamp(1.4rem, 4.5vw, 2rem); line-height: 1.2; font-weight: 650; text-wrap: balance; }
h1 span { display: inline-block; max-width: 100%; }
h2 { font-size: 1.05rem; margin: 2rem 0 .75rem; }
h3 { font-size: 1rem; }
ul, ol { list-style: none; padding: 0; }
a { color: var(--news); }
a:focus-visible { outline: 2px solid var(--news); outline-offset: 3px; border-radius: 3px; }
.faint { color: var(--faint); font-size: .9rem; font-weight: 400; }
.good { --tone: var(--good); --wash: var(--good-wash); }
.warning { --tone: var(--warning); --wash: var(--warning-wash); }
.bad { --tone: var(--bad); --wash: var(--bad-wash); }
.news { --tone: var(--news); --wash: var(--news-wash); }
header { border-left: .4rem solid var(--tone); padding-left: 1rem; }
.margin { margin-top: 1rem; }
.margin svg { display: block; width: 100%; height: 10px; border-radius: 5px; }
.margin .all { fill: var(--line); } .margin .mark { fill: var(--ink); }
.still, .moving { fill: var(--tone); } .still { display: none; }
@media (prefers-reduced-motion: reduce) { .still { display: inline; } .moving { display: none; } }
.margin p { display: flex; flex-wrap: wrap; justify-content: space-between; column-gap: 1rem; margin-top: .3rem; }
.notice { background: var(--wash); border-left: .25rem solid var(--tone); padding: .5rem .8rem; margin-top: 1rem; border-radius: 0 .4rem .4rem 0; }
.cards { display: grid; gap: 1rem; align-items: start; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; }
.card.leads { border-color: var(--tone); box-shadow: inset 0 .2rem var(--tone); }
.card > * + * { margin-top: .5rem; }
.badge { display: inline-block; color: var(--tone); background: var(--wash); border-radius: 1rem; padding: 0 .7rem; font-size: .9rem; }
.why, .differs { color: var(--warning); }
dl { border-top: 1px solid var(--line); font-size: .9rem; }
dl div { display: grid; grid-template-columns: 7.5rem 1fr; gap: .5rem; padding: .2rem 0; border-bottom: 1px solid var(--line); }
dt { color: var(--faint); }
.terms { border-left: 2px solid var(--line); margin-left: .4rem; padding-left: 1.3rem; }
.terms li { position: relative; padding-bottom: 1.2rem; }
.terms li::before {
  content: ''; position: absolute; left: -1.3rem; top: .45rem; width: .7rem; height: .7rem; transform: translateX(-50%) translateX(-1px);
  border-radius: 50%; background: var(--page); border: 2px solid var(--faint);
}
.terms li.now::before { background: var(--good); border-color: var(--good); }
.terms p { font-size: .9rem; }
.terms p:first-of-type { color: var(--faint); }
.phases { display: block; width: 100%; height: .5rem; margin: .35rem 0; background: var(--line); border-radius: .25rem; }
.legend { font-size: .85rem; color: var(--faint); margin-bottom: .75rem; }
.legend span { margin-right: 1rem; }
.legend span::before { content: ''; display: inline-block; width: .7rem; height: .7rem; border-radius: .2rem; margin-right: .35rem; background: var(--phase); }
.detect { --phase: var(--detect); } .acquire { --phase: var(--acquire); } .start { --phase: var(--start); } .healthy { --phase: var(--healthy); }
.phases rect { fill: var(--phase); }
.foot { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1rem; color: var(--faint); font-size: .85rem; }
nav a { display: inline-block; padding: .3rem .8rem .3rem 0; font-size: .85rem; }
`

// biome-ignore lint/suspicious/noExplicitAny: the program has no types of a browser
declare const document: any, DOMParser: any, location: any

/**
 * Runs in the browser, from its own text, so it may use nothing from outside. It requests the same page from the
 * replica once a second, and shows its main part.
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
    // A screen reader announces changes in an element that stays.
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
    find('#stale').textContent =
      `This replica ${problem}. Its last answer came ${s} s ago; the page retries each second.`
    find('#stale').hidden = problem === ''
    find('main').className = problem === '' ? '' : 'stale'
  }

  async function go(): Promise<void> {
    // A hidden tab needs no update.
    if (!document.hidden) await update()
    setTimeout(go, EVERY_MS)
  }
  setTimeout(go, EVERY_MS)
}
