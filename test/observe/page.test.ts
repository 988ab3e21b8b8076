import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import { PAGE_POLICY, renderPage } from '../../agent/observe/page.ts'
import type { AgentStatus } from '../../agent/observe/status.ts'
import { FOLLOWING, SERVING } from './replica.ts'

/** The same status with every text in it replaced. */
function withEveryText<T>(value: T, text: string): T {
  if (typeof value === 'string') return text as T
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((one) => withEveryText(one, text)) as T
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, withEveryText(one, text)])) as T
}

describe('the page', () => {
  it('says who this is, what it is and why', () => {
    const page = renderPage(SERVING)
    assert.match(page, /<title>leader - langflow-0_3f1c<\/title>/)
    assert.match(page, /<h1>langflow-0_3f1c: leader<\/h1>/)
    assert.match(page, /<p>holding the Lease in epoch 7, 13\.2 s left<\/p>/)
    assert.match(page, /<th scope="row">Holder<\/th><td>langflow-0_3f1c \(this replica\)<\/td>/)
    assert.match(page, /<th scope="row">Killed in<\/th><td>13\.3 s<\/td>/)
    assert.match(page, /<th scope="row">Peers ready<\/th><td>1 of 2<\/td>/)
    assert.doesNotMatch(page, /role="alert"/)
  })

  it('shows a follower, a problem, and that nobody leads', () => {
    const problem = 'forbidden: leases "x" may not be updated'
    const page = renderPage({
      ...FOLLOWING,
      problem,
      lease: { ...FOLLOWING.lease, holder: null, since: null },
    })
    assert.match(
      page,
      /<p class="problem" role="alert">forbidden: leases &quot;x&quot; may not be updated<\/p>/,
    )
    assert.match(page, /<td>nobody<\/td>/)
    assert.match(page, /<th scope="row">Peers ready<\/th><td>-<\/td>/)
    assert.match(page, /<th scope="row">Since<\/th><td>-<\/td>/)
    assert.match(page, /<span class="bad">failed<\/span> held by langflow-1_9d2e/)
  })

  it('shows markup in any text as text', () => {
    const hostile = `</style></td><script>alert("x")</script><img src='x' onerror=alert(1)>&amp;`
    const problem = { ...SERVING, problem: 'x', leadership: { ...SERVING.leadership, steppingDown: 'x' } }
    const page = renderPage(withEveryText<AgentStatus>(problem, hostile))
    assert.doesNotMatch(page, /<script|<img|alert\("/)
    assert.equal(page.match(/<\/style>/g)?.length, 1)
    const shown = page.match(
      /&lt;\/style&gt;&lt;\/td&gt;&lt;script&gt;alert\(&quot;x&quot;\)&lt;\/script&gt;&lt;img src=&#39;x&#39; onerror=alert\(1\)&gt;&amp;amp;/g,
    )
    assert.ok(shown!.length > 20)
  })

  it('has the very style sheet that its policy names', () => {
    const style = /<style>([\s\S]*)<\/style>/.exec(renderPage(SERVING))?.[1] ?? ''
    const hash = createHash('sha256').update(style).digest('base64')
    assert.ok(PAGE_POLICY.includes(`style-src 'sha256-${hash}'`))
  })

  it('closes every element that it opens', () => {
    const open: string[] = []
    for (const [, closing, name] of renderPage(SERVING).matchAll(/<(\/?)([a-z]\w*)[^>]*>/g)) {
      if (name === 'meta') continue
      if (closing) assert.equal(open.pop(), name)
      else open.push(name!)
    }
    assert.deepEqual(open, [])
  })
})
