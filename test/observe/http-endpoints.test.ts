import assert from 'node:assert/strict'
import { describe, it, test } from 'node:test'
import { PAGE_POLICY, pageOf } from '../../agent/observe/page.ts'
import type { AgentStatus } from '../../agent/status/agent-status.ts'
import { ask } from '../harness/connection.ts'
import { sendRaw, serve } from './client.ts'
import { FOLLOWING, Replica, SERVING, silent } from './replica.ts'

const PROBES = ['/livez', '/readyz', '/frontz', '/workloadz']
const ROUTES = [...PROBES, '/', '/leader', '/status', '/replicas', '/metrics']
const TEXT = 'text/plain; charset=utf-8'
const JSON_TYPE = 'application/json; charset=utf-8'

describe('a probe', () => {
  it('gets 503 and the reason from /livez if the loop is stuck, from /workloadz if the launcher is silent, and from /frontz', async (t) => {
    const replica = new Replica(FOLLOWING)
    const server = await serve(t, replica)
    const asked = async (path: string) => {
      const { status, body, headers } = await ask(server, path)
      assert.equal(headers['content-type'], TEXT)
      return [status, body]
    }
    for (const path of ['/livez', '/frontz', '/workloadz']) assert.deepEqual(await asked(path), [200, 'ok\n'])
    Object.assign(replica, { alive: false, answers: false, fault: 'the front does not listen: it starts' })
    assert.deepEqual(await asked('/frontz'), [503, 'the front does not listen: it starts\n'])
    assert.deepEqual(await asked('/livez'), [503, "the agent's election loop is stuck\n"])
    assert.deepEqual(await asked('/workloadz'), [503, 'the launcher does not answer\n'])
  })
})

describe('/readyz', () => {
  const UNABLE: AgentStatus = {
    ...FOLLOWING,
    couldTakeOver: false,
    checks: FOLLOWING.checks.map((check) =>
      check.name === 'launcher' ? { ...check, ok: false, detail: 'missing\nfor 3 s' } : check,
    ),
  }
  const EXCLUDED = 'exclude=leadership'
  const PASSED = 'readyz check passed\n'
  const FAILED = 'readyz check failed\n'
  const SERVES = `[+]leadership ok\n[+]lease ok\n[+]launcher ok\n[+]workload ok\n[+]gate ok\n`
  const NOT_LEADING =
    '[-]leadership failed: held by langflow-1_9d2e\n[+]lease ok\n[+]launcher ok\n[-]workload failed: not running\n' +
    '[-]gate failed: closed\n'
  const WAIVED =
    '[+]leadership excluded: ok\n[+]lease ok\n[+]launcher ok\n[+]workload excluded: ok\n[+]gate excluded: ok\n'
  const CANNOT =
    '[+]leadership excluded: ok\n[+]lease ok\n[-]launcher failed: missing for 3 s\n[-]workload failed: not running\n' +
    '[-]gate failed: closed\n'
  const ANYTHING = ['', '?', '?x=1', '?__proto__=1', '?exclude=', '?%zz', '?a=%zz&&&=='] as const
  const VERBOSE = ['?verbose', '?verbose=1'] as const

  type Row = [what: string, status: AgentStatus, queries: readonly string[], code: number, body: string]
  const rows: Row[] = [
    ['is ok on the leader that serves, with any other query', SERVING, ANYTHING, 200, 'ok\n'],
    ['lists each check with ?verbose', SERVING, VERBOSE, 200, SERVES + PASSED],
    ['is 503 on a follower and lists each check', FOLLOWING, [''], 503, NOT_LEADING + FAILED],
    ['is ok on a follower that could take over', FOLLOWING, [`?${EXCLUDED}`], 200, 'ok\n'],
    ['lists the excluded checks', FOLLOWING, [`?verbose&${EXCLUDED}`], 200, WAIVED + PASSED],
    ['is 503 on a follower that could not take over', UNABLE, [`?${EXCLUDED}`], 503, CANNOT + FAILED],
  ]
  for (const [what, now, queries, code, text] of rows) {
    it(what, async (t) => {
      const replica = new Replica(now)
      replica.takesOver = now.couldTakeOver
      const server = await serve(t, replica)
      for (const query of queries) {
        const { status, body, headers } = await ask(server, `/readyz${query}`)
        assert.deepEqual([status, body, headers['content-type']], [code, text, TEXT], query)
      }
    })
  }
})

describe('/leader', () => {
  const since = '"2026-01-02T03:00:00.000000Z"'
  const free = (holder: string | null) => ({ ...FOLLOWING.lease, holder, since: null })
  for (const [what, now, holder, self, at] of [
    ['on the leader', SERVING, 'langflow-0_3f1c', true, since],
    ['on a follower', FOLLOWING, 'langflow-1_9d2e', false, since],
    ['if no replica leads', { ...FOLLOWING, lease: free('') }, '', false, 'null'],
    ['if there is no Lease', { ...FOLLOWING, lease: free(null) }, '', false, 'null'],
  ] as const) {
    it(`has exactly four fields ${what}`, async (t) => {
      const { status, headers, body } = await ask(await serve(t, new Replica(now)), '/leader')
      assert.deepEqual([status, headers['content-type']], [200, JSON_TYPE])
      assert.equal(body, `{"holder":"${holder}","self":${self},"epoch":7,"since":${at}}\n`)
    })
  }
})

describe('/status', () => {
  it('is the whole status as JSON', async (t) => {
    const { status, headers, body } = await ask(await serve(t, new Replica()), '/status')
    assert.deepEqual([status, headers['content-type']], [200, JSON_TYPE])
    assert.deepEqual(JSON.parse(body), SERVING)
  })

  it('redacts a token in a message', async (t) => {
    const problem = 'forbidden: "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln" was sent'
    const server = await serve(t, new Replica({ ...SERVING, problem }))
    const { body } = await ask(server, '/status')
    assert.equal(JSON.parse(body).problem, 'forbidden: "Bearer [redacted]" was sent')
  })
})

describe('/replicas', () => {
  it('has a row for each replica, with this one first', async (t) => {
    const replica = new Replica()
    const follower = { pod: 'langflow-1', node: null, status: FOLLOWING, problem: null }
    replica.others = [follower, silent('10.0.0.7:8090')]
    const { status, headers, body } = await ask(await serve(t, replica), '/replicas')
    assert.deepEqual([status, headers['content-type']], [200, JSON_TYPE])
    const own = { pod: 'langflow-0', node: null, status: SERVING, problem: null }
    assert.deepEqual(JSON.parse(body), [own, ...replica.others])
  })
})

describe('/', () => {
  it('is the page of all replicas, which loads itself again every two seconds', async (t) => {
    const replica = new Replica()
    replica.others = [silent('langflow-1')]
    const { status, headers, body } = await ask(await serve(t, replica), '/')
    assert.deepEqual([status, headers['content-type']], [200, 'text/html; charset=utf-8'])
    assert.equal(headers['content-security-policy'], PAGE_POLICY)
    assert.equal(body, pageOf(await replica.replicas()))
    assert.match(body, /<meta http-equiv="refresh" content="2">/)
  })
})

describe('/metrics', () => {
  it('has the text format of Prometheus', async (t) => {
    const { status, headers, body } = await ask(await serve(t, new Replica()), '/metrics')
    assert.deepEqual([status, headers['content-type']], [200, 'text/plain; version=0.0.4; charset=utf-8'])
    assert.match(body, /^# TYPE leader_election_master_status gauge$/m)
  })
})

describe('every route', () => {
  it('answers HEAD like GET, but without a body', async (t) => {
    const server = await serve(t, new Replica())
    for (const route of ROUTES) {
      const get = await ask(server, route)
      const head = await ask(server, route, { method: 'HEAD' })
      assert.deepEqual([head.status, head.body], [get.status, ''], route)
      assert.equal(head.headers['content-type'], get.headers['content-type'])
      for (const { headers } of [get, head]) {
        const { 'x-content-type-options': options, 'cache-control': cache } = headers
        assert.deepEqual([options, cache], ['nosniff', 'no-store'])
      }
    }
  })

  it('answers a signed request for consent, and refuses any other before its body', async (t) => {
    const server = await serve(t, new Replica())
    const post = async (signature?: string, more = {}) => {
      const headers = { ...(signature && { 'langflow-leader-consent': signature }), ...more }
      const { status, body } = await ask(server, '/consent', { method: 'POST', headers, body: '' })
      return [status, body]
    }
    assert.deepEqual(await post('signed'), [200, 'agreed'])
    for (const signature of [undefined, 'forged'])
      assert.equal((await post(signature, { 'content-length': 1_000_000 }))[0], 401)
    assert.equal((await ask(server, '/consent')).status, 404)
  })

  it('refuses every other method without reading the body', async (t) => {
    const server = await serve(t, new Replica())
    for (const route of ROUTES)
      for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND']) {
        const { status, headers } = await ask(server, `${route}?x=1`, { method })
        assert.deepEqual([status, headers.allow], [405, 'GET, HEAD'], `${method} ${route}`)
      }
    const headers = { 'content-type': 'application/json' }
    const answer = await ask(server, '/leader', { method: 'POST', body: '{', headers })
    assert.deepEqual([answer.status, answer.headers.connection], [405, 'close'])
  })

  it('answers a GET without reading its body', async (t) => {
    const server = await serve(t, new Replica())
    const { status } = await ask(server, '/livez', { body: 'x', headers: { 'content-length': 1 } })
    const chunked = await ask(server, '/livez', { body: 'x', headers: { 'transfer-encoding': 'chunked' } })
    assert.deepEqual([status, chunked.status], [200, 200])
  })

  it('answers 500 with one line if the status cannot be computed', async (t) => {
    const replica = new Replica()
    const server = await serve(t, replica)
    t.mock.method(replica, 'status', () => {
      throw new Error('hunter2')
    })
    for (const route of ['/leader', '/status', '/replicas']) {
      const { status, body } = await ask(server, route)
      assert.deepEqual([status, body], [500, '{"error":"the agent cannot read its status"}\n'])
    }
  })
})

test('an unknown path gets 404, and a malformed one 400', async (t) => {
  const server = await serve(t, new Replica())
  const unknown = ['/nope', '/__proto__', '/livez/', '/LIVEZ', '//livez', '/livez%00', '/../livez']
  for (const path of [...unknown, '/%zz']) {
    const { status } = await ask(server, path)
    assert.equal(status, path === '/%zz' ? 400 : 404, path)
  }
})

describe('an invalid request', () => {
  const head = 'GET /livez HTTP/1.1\r\nHost: x\r\n'
  const cases: [what: string, bytes: string][] = [
    ['garbage', 'garbage\r\n\r\n'],
    ['headers that are too long', `${head}X: ${'a'.repeat(9000)}\r\n\r\n`],
    ['a path without an end', `GET /${'a'.repeat(20_000)}`],
  ]
  for (const [what, bytes] of cases) {
    it(`gets the status 400, and its connection ends: ${what}`, async (t) => {
      const server = await serve(t, new Replica())
      const answer = await sendRaw(t, server, bytes)
      assert.match(answer, /^HTTP\/1\.1 400 /)
      assert.match(answer, /\r\nConnection: close\r\n/)
      assert.equal((await ask(server, '/livez')).status, 200)
    })
  }
})
