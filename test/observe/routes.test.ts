import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ask, say, serve } from './client.ts'
import { readExposition } from './exposition.ts'
import { FOLLOWING, Replica, SERVING } from './replica.ts'

const ROUTES = ['/', '/livez', '/readyz', '/workloadz', '/leader', '/status', '/metrics']
const TEXT = 'text/plain; charset=utf-8'
const JSON_TYPE = 'application/json; charset=utf-8'

describe('/livez', () => {
  it('is 200 unless the loop is stuck', async (t) => {
    const replica = new Replica(FOLLOWING)
    const server = await serve(t, replica)
    const { status, body, headers } = await ask(server, '/livez')
    assert.deepEqual([status, body, headers['content-type']], [200, 'ok\n', TEXT])
    replica.alive = false
    const stuck = await ask(server, '/livez')
    assert.deepEqual([stuck.status, stuck.body], [503, "the agent's own loop is stuck\n"])
  })
})

describe('/workloadz', () => {
  it('is 503 when the launcher does not answer', async (t) => {
    const replica = new Replica()
    const server = await serve(t, replica)
    assert.equal((await ask(server, '/workloadz')).status, 200)
    replica.answers = false
    const silent = await ask(server, '/workloadz')
    assert.deepEqual([silent.status, silent.body], [503, 'the launcher does not answer\n'])
  })
})

describe('/readyz', () => {
  it('is 200 and ok on the leader that serves', async (t) => {
    const server = await serve(t, new Replica(SERVING))
    const { status, body, headers } = await ask(server, '/readyz')
    assert.deepEqual([status, body, headers['content-type']], [200, 'ok\n', TEXT])
  })

  it('lists each check when asked to', async (t) => {
    const server = await serve(t, new Replica(SERVING))
    for (const path of ['/readyz?verbose', '/readyz?verbose=', '/readyz?verbose=1']) {
      assert.equal(
        (await ask(server, path)).body,
        '[+]leadership ok\n[+]lease ok\n[+]launcher ok\n[+]workload ok\n[+]gate ok\nreadyz check passed\n',
      )
    }
  })

  it('is 503 on a follower and says why without being asked', async (t) => {
    const server = await serve(t, new Replica(FOLLOWING))
    const { status, body } = await ask(server, '/readyz')
    assert.equal(status, 503)
    assert.equal(
      body,
      '[-]leadership failed: held by langflow-1_9d2e\n[+]lease ok\n[+]launcher ok\n[-]workload failed: not running\n[-]gate failed: closed\nreadyz check failed\n',
    )
  })

  it('?exclude=leadership is 200 on a follower that could take over', async (t) => {
    const server = await serve(t, new Replica(FOLLOWING))
    const brief = await ask(server, '/readyz?exclude=leadership')
    assert.deepEqual([brief.status, brief.body], [200, 'ok\n'])
    const { status, body } = await ask(server, '/readyz?verbose&exclude=leadership')
    assert.equal(status, 200)
    assert.equal(
      body,
      '[+]leadership excluded: ok\n[+]lease ok\n[+]launcher ok\n[+]workload excluded: ok\n[+]gate excluded: ok\nreadyz check passed\n',
    )
  })

  it('?exclude=leadership is 503 on one that could not', async (t) => {
    const replica = new Replica({
      ...FOLLOWING,
      checks: FOLLOWING.checks.map((check) =>
        check.name === 'launcher' ? { ...check, ok: false, detail: 'missing\nfor 3 s' } : check,
      ),
    })
    replica.takesOver = false
    const { status, body } = await ask(await serve(t, replica), '/readyz?exclude=leadership')
    assert.equal(status, 503)
    assert.match(
      body,
      /^\[\+\]leadership excluded: ok\n\[\+\]lease ok\n\[-\]launcher failed: missing for 3 s\n/,
    )
    assert.match(body, /\nreadyz check failed\n$/)
  })

  it('warns about what cannot be excluded, and requires it', async (t) => {
    const server = await serve(t, new Replica(FOLLOWING))
    const { status, body } = await ask(server, '/readyz?exclude=gate&exclude=%3Cb%3E')
    assert.equal(status, 503)
    assert.match(
      body,
      /\nwarn: some health checks cannot be excluded: no matches for "gate","\?b\?"\nreadyz check failed\n$/,
    )
    const both = await ask(server, '/readyz?verbose&exclude=leadership&exclude=x')
    assert.equal(both.status, 200)
    assert.match(both.body, /no matches for "x"\nreadyz check passed\n$/)
  })

  it('ignores what it does not know', async (t) => {
    const server = await serve(t, new Replica(SERVING))
    for (const query of ['?', '?x=1', '?__proto__=1', '?exclude=', '?verbose[]=1', '?%zz', '?a=%zz&&&==']) {
      assert.equal((await ask(server, `/readyz${query}`)).status, 200, query)
    }
  })
})

describe('/leader', () => {
  it('has exactly four fields, on the leader and on a follower', async (t) => {
    const replica = new Replica(SERVING)
    const server = await serve(t, replica)
    const { status, headers, body } = await ask(server, '/leader')
    assert.deepEqual([status, headers['content-type']], [200, JSON_TYPE])
    assert.equal(
      body,
      '{"holder":"langflow-0_3f1c","self":true,"epoch":7,"since":"2026-01-02T03:00:00.000000Z"}\n',
    )
    replica.now = FOLLOWING
    const other = await ask(server, '/leader')
    assert.equal(other.status, 200)
    assert.equal(
      other.body,
      '{"holder":"langflow-1_9d2e","self":false,"epoch":7,"since":"2026-01-02T03:00:00.000000Z"}\n',
    )
  })

  it('says so when nobody leads', async (t) => {
    for (const holder of ['', null]) {
      const replica = new Replica({ ...FOLLOWING, lease: { ...FOLLOWING.lease, holder, since: null } })
      const { status, body } = await ask(await serve(t, replica), '/leader')
      assert.deepEqual([status, body], [200, '{"holder":"","self":false,"epoch":7,"since":null}\n'])
    }
  })
})

describe('/status', () => {
  it('is the whole view as JSON', async (t) => {
    const { status, headers, body } = await ask(await serve(t, new Replica()), '/status')
    assert.deepEqual([status, headers['content-type']], [200, JSON_TYPE])
    assert.deepEqual(JSON.parse(body), SERVING)
  })

  it('and the page show no token that got into a message', async (t) => {
    const problem = 'forbidden: "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln" was sent'
    const server = await serve(t, new Replica({ ...SERVING, problem }))
    const { body } = await ask(server, '/status')
    assert.equal(JSON.parse(body).problem, 'forbidden: "Bearer [redacted]" was sent')
    assert.doesNotMatch((await ask(server, '/')).body, /eyJ/)
  })
})

describe('/metrics', () => {
  it('is the text format of Prometheus', async (t) => {
    const { status, headers, body } = await ask(await serve(t, new Replica()), '/metrics')
    assert.equal(status, 200)
    assert.equal(headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
    assert.ok(readExposition(body).has('leader_election_master_status'))
  })
})

describe('/', () => {
  it('is a page that can neither load nor run nor send anything', async (t) => {
    const { status, headers, body } = await ask(await serve(t, new Replica()), '/')
    assert.deepEqual([status, headers['content-type']], [200, 'text/html; charset=utf-8'])
    const policy = headers['content-security-policy'] as string
    assert.match(policy, /^default-src 'none'; style-src 'sha256-[\w+/]{43}='; /)
    assert.match(policy, /frame-ancestors 'none'/)
    assert.doesNotMatch(body, /<script|<link|<img|<form|javascript:| style=| on\w+=/i)
  })
})

describe('every route', () => {
  for (const route of ROUTES) {
    it(`${route} answers HEAD as GET, without a body`, async (t) => {
      const server = await serve(t, new Replica())
      const get = await ask(server, route)
      const head = await ask(server, route, { method: 'HEAD' })
      assert.equal(head.status, get.status)
      assert.equal(head.body, '')
      assert.equal(head.headers['content-type'], get.headers['content-type'])
      for (const { headers } of [get, head]) {
        assert.equal(headers['x-content-type-options'], 'nosniff')
        assert.equal(headers['cache-control'], 'no-store')
      }
    })

    it(`${route} refuses every other method`, async (t) => {
      const server = await serve(t, new Replica())
      for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'PURGE']) {
        const { status, headers, body } = await ask(server, `${route}?x=1`, { method })
        assert.deepEqual(
          [status, headers.allow, headers['content-type']],
          [405, 'GET, HEAD', JSON_TYPE],
          method,
        )
        assert.match(body, /^\{"error":"[^\n]+"\}\n$/)
      }
    })
  }

  it('refuses a method before it reads the body, whatever that is', async (t) => {
    const server = await serve(t, new Replica())
    for (const type of ['application/json', 'x/y', '']) {
      const answer = await ask(server, '/leader', {
        method: 'POST',
        body: '{',
        headers: { 'content-type': type },
      })
      assert.equal(answer.status, 405)
      assert.equal(answer.headers.connection, 'close')
    }
  })

  it('takes no body with GET', async (t) => {
    const server = await serve(t, new Replica())
    const { status, body } = await ask(server, '/livez', { body: 'x', headers: { 'content-length': 1 } })
    assert.deepEqual([status, body], [400, '{"error":"send the request without a body"}\n'])
    const chunked = await ask(server, '/livez', { body: 'x', headers: { 'transfer-encoding': 'chunked' } })
    assert.equal(chunked.status, 400)
    assert.equal((await ask(server, '/livez', { headers: { 'content-length': 0 } })).status, 200)
  })

  it('answers 500 in one line where the status cannot be told', async (t) => {
    const replica = new Replica()
    const server = await serve(t, replica)
    t.mock.method(replica, 'status', () => {
      throw new Error('hunter2')
    })
    for (const route of ['/', '/leader', '/status']) {
      const { status, body } = await ask(server, route)
      assert.deepEqual([status, body], [500, '{"error":"the status cannot be told"}\n'])
    }
  })
})

describe('what is no route', () => {
  for (const path of [
    '/nope',
    '/livez/',
    '/LIVEZ',
    '//livez',
    '/livez%00',
    '/../livez',
    '/favicon.ico',
    '/__proto__',
  ]) {
    it(`is 404, with any method: ${path}`, async (t) => {
      const server = await serve(t, new Replica())
      for (const method of ['GET', 'POST', 'PROPFIND']) {
        const { status, headers, body } = await ask(server, path, { method })
        assert.deepEqual([status, headers['content-type'], headers.allow], [404, JSON_TYPE, undefined])
        assert.match(body, /^\{"error":"no such page: [^\n]+"\}\n$/)
      }
    })
  }

  it('is 400 where the path is malformed', async (t) => {
    const { status, body } = await ask(await serve(t, new Replica()), '/%zz')
    assert.deepEqual([status, body], [400, '{"error":"the path is malformed"}\n'])
  })
})

describe('what is no request', () => {
  const cases: [what: string, bytes: string, line: RegExp][] = [
    ['garbage', 'garbage\r\n\r\n', /^HTTP\/1\.1 400 Bad Request\r\n/],
    ['an unknown method', 'FOO / HTTP/1.1\r\nHost: x\r\n\r\n', /^HTTP\/1\.1 400 Bad Request\r\n/],
    ['a request without a host', 'GET / HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 400 Bad Request\r\n/],
    [
      'two lengths',
      'GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      /^HTTP\/1\.1 400 Bad Request\r\n/,
    ],
    ['a TLS client', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', /^HTTP\/1\.1 400 Bad Request\r\n/],
    [
      'headers without end',
      `GET /livez HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(9000)}\r\n\r\n`,
      /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n/,
    ],
    ['a path without end', `GET /${'a'.repeat(9000)} HTTP/1.1\r\nHost: x\r\n\r\n`, /^HTTP\/1\.1 431 /],
  ]
  for (const [what, bytes, line] of cases) {
    it(`ends the connection after a proper status: ${what}`, async (t) => {
      const server = await serve(t, new Replica())
      const answer = await say(t, server, bytes)
      assert.match(answer, line)
      assert.match(answer, /\r\nConnection: close\r\n/i)
      assert.equal((await ask(server, '/livez')).status, 200)
    })
  }
})
