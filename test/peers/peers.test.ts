import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, type TestContext, test } from 'node:test'
import { LogThrottle } from '../../agent/observe/log.ts'
import { find } from '../../agent/peers/peer-requests.ts'
import { Peers, type PeersOptions } from '../../agent/peers/peers.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'
import { FOLLOWING } from '../observe/replica.ts'

const ME = '127.0.0.1'
const [OTHER, THIRD] = ['127.0.0.2', '127.0.0.3']

const LEASE = { ...FOLLOWING.lease, namespace: 'team', name: 'lock' }

function says(identity: string, couldTakeOver: boolean, lease: object = LEASE, more = {}): RequestListener {
  const answer = JSON.stringify({ ...FOLLOWING, identity, couldTakeOver, lease, another: 'ignored', ...more })
  return (_, response) => response.end(answer)
}

/** Agents that answer on one port of several loopback addresses, and the replica `me`, which asks them. */
class Bench {
  readonly clock = new VirtualClock()
  readonly asked: string[] = []
  readonly lines: string[] = []
  addresses: string[] = []
  peers!: Peers
  options!: PeersOptions
  private port = 0
  private readonly t: TestContext
  private readonly servers = new Map<string, Server>()
  private roundEnds = Promise.withResolvers<void>()

  constructor(t: TestContext) {
    this.t = t
  }

  async answers(address: string, listener: RequestListener): Promise<this> {
    const server = createServer((request, response) => {
      this.asked.push(`${address}${request.url}`)
      listener(request, response)
    })
    server.listen(this.port, address)
    await once(server, 'listening')
    this.port = (server.address() as AddressInfo).port
    this.servers.set(address, server)
    this.addresses.push(address)
    this.t.after(() => this.silence(address))
    return this
  }

  silence(address: string): void {
    const server = this.servers.get(address)
    server?.close()
    server?.closeAllConnections()
  }

  /** @param resolve replaces the lookup, which returns the addresses of the agents that answer */
  open(resolve: ((host: string) => Promise<string[]>) | undefined = async () => this.addresses): this {
    const { clock, lines } = this
    const log = { warn: (msg: string) => void lines.push(msg), info: (msg: string) => void lines.push(msg) }
    this.options = {
      at: [{ host: 'localhost', port: this.port }],
      identity: 'me',
      lease: 'team/lock',
      clock,
      asked: () => this.roundEnds.resolve(),
      repeats: new LogThrottle(log, clock),
      ...(resolve === undefined ? {} : { resolve }),
    }
    this.peers = new Peers(this.options)
    this.t.after(() => this.peers.close())
    return this
  }

  /** Lets `ms` pass, and waits until the round that begins then has ended. */
  async round(ms = 0): Promise<this> {
    this.roundEnds = Promise.withResolvers()
    if (ms === 0) this.peers.ask(true)
    await this.clock.pass(ms)
    await this.roundEnds.promise
    await settled()
    return this
  }
}

async function three(t: TestContext): Promise<Bench> {
  const b = new Bench(t)
  await b.answers(ME, says('me', false))
  await b.answers(OTHER, says('other', true))
  return b.answers(THIRD, says('third', false))
}

describe('the peers of a leader', () => {
  test('are counted by whether they answer and could take over, without this replica', async (t) => {
    const b = await (await three(t)).open().round()
    assert.deepEqual(b.peers.view, { ready: 1, seen: 2 })
    assert.deepEqual(b.asked.sort(), [`${ME}/status`, `${OTHER}/status`, `${THIRD}/status`])
    assert.deepEqual(b.lines, [])
  })

  test('report what decides about the succession', async (t) => {
    const b = new Bench(t)
    const standby = { ...FOLLOWING.standby, wanted: 'warm', mode: 'warm', more: 'ignored' }
    const onTrial = { reason: 'a test', failed: null }
    const content = { digest: 'c1', ageMs: 1, running: null, earlier: [], problem: null }
    await b.answers(
      OTHER,
      says('new', true, LEASE, { revision: 'r2', onTrial, podAgeMs: 9_000, standby, content }),
    )
    await b.answers(THIRD, says('old', true, LEASE))
    await b.open().round()
    const { revision, podAgeMs } = FOLLOWING
    const both = { ready: true, prepared: true, lease: 'team/lock', leads: false }
    const members = [...b.peers.members].sort((one, other) => (one.identity < other.identity ? -1 : 1))
    assert.deepEqual(members, [
      {
        ...both,
        identity: 'new',
        warm: true,
        revision: 'r2',
        unproven: true,
        podAgeMs: 9_000,
        content: { digest: 'c1' },
      },
      { ...both, identity: 'old', warm: false, revision, unproven: false, podAgeMs, content: null },
    ])
  })

  test('are asked every 5 s', async (t) => {
    const b = await (await three(t)).open().round()
    b.asked.length = 0
    await b.clock.pass(4_999)
    assert.deepEqual(b.asked, [])
    await b.round(1)
    await b.round(5_000)
    assert.deepEqual(
      b.asked.sort(),
      [ME, ME, OTHER, OTHER, THIRD, THIRD].map((address) => `${address}/status`),
    )
  })

  test('are asked only while this replica leads', async (t) => {
    const b = (await three(t)).open()
    await b.clock.pass(60_000)
    assert.deepEqual([b.asked, b.peers.view], [[], null])
    await b.round()
    b.asked.length = 0
    b.peers.ask(false)
    assert.equal(b.peers.view, null)
    await b.clock.pass(60_000)
    assert.deepEqual(b.asked, [])
  })

  test('count by their last answer for two more polls', async (t) => {
    const b = new Bench(t)
    let failing = false
    const other = says('other', true)
    await b.answers(OTHER, (request, response) =>
      failing ? response.writeHead(500).end() : other(request, response),
    )
    await (await b.answers(THIRD, says('third', false))).open().round()
    failing = true
    await b.round(5_000)
    await b.round(5_000)
    await b.clock.pass(1_000)
    assert.deepEqual(b.peers.view, { ready: 1, seen: 2 })
    await b.clock.pass(1)
    assert.deepEqual(b.peers.view, { ready: 0, seen: 1 })
  })

  test('do not count after they refuse a connection, or after the name lost their address', async (t) => {
    const b = await (await three(t)).open().round()
    b.silence(OTHER)
    await b.round(5_000)
    assert.deepEqual(b.peers.view, { ready: 0, seen: 1 })
    b.addresses.splice(b.addresses.indexOf(THIRD), 1)
    await b.round(5_000)
    assert.deepEqual(b.peers.view, { ready: 0, seen: 0 })
  })

  test('are present while their last answer is at most as old as two requests a second apart', async (t) => {
    const b = await (await three(t)).open().round()
    const names = () => b.peers.present.map(({ identity }) => identity).sort()
    const all = names()
    assert.ok(all.length > 1)
    await b.clock.pass(2_500)
    assert.deepEqual(names(), all)
    await b.clock.pass(1)
    assert.deepEqual([names(), b.peers.members.length], [[], all.length])
    b.peers.askAgain(1_000)
    await b.round(1_000)
    assert.deepEqual(names(), all)
  })

  test('are asked before the next poll on request', async (t) => {
    const b = await (await three(t)).open().round()
    b.asked.length = 0
    b.peers.askAgain()
    b.peers.askAgain()
    await b.round(1)
    assert.equal(b.asked.length, 3)
    await b.clock.pass(4_990)
    assert.equal(b.asked.length, 3)
  })

  test('do not include replicas that compete for another Lease', async (t) => {
    const b = new Bench(t)
    await b.answers(OTHER, says('other', true, { ...LEASE, name: 'another' }))
    await b.answers(THIRD, says('third', true, { ...LEASE, namespace: 'another' }))
    await b.open().round()
    assert.deepEqual([b.peers.view, b.lines], [{ ready: 0, seen: 0 }, []])
  })

  test('include replicas that compete for another Lease in the survey of a starting replica', async (t) => {
    const b = new Bench(t)
    await b.answers(OTHER, says('other', false, { ...LEASE, name: 'another' }, { role: 'leader' }))
    await b.answers(THIRD, says('third', true))
    const found = (await b.open().peers.survey()).map(({ identity, lease, leads }) => [
      identity,
      lease,
      leads,
    ])
    assert.deepEqual(found, [
      ['other', 'team/another', true],
      ['third', 'team/lock', false],
    ])
  })

  test('cause one log line when one fails, even repeatedly, and one when all answer again', async (t) => {
    const b = await (await three(t)).open().round()
    b.silence(OTHER)
    for (let n = 0; n < 4; n++) await b.round(5_000)
    assert.equal(b.lines.length, 1)
    b.addresses.splice(b.addresses.indexOf(OTHER), 1)
    await b.round(5_000)
    assert.equal(b.lines.length, 2)
  })

  for (const [what, listener] of [
    ['an error', (_, response) => response.writeHead(500).end('{}')],
    ['a redirection', (_, response) => response.writeHead(302, { location: '/leader' }).end()],
    ['an identity that no Lease could hold', says('a b', true)],
    ['HTML', (_, response) => response.end('<html>')],
    ['JSON of another kind', (_, response) => response.end('{"identity":"x"}')],
    ['more than 64 KiB', says('x', true, LEASE, { pad: 'x'.repeat(65_536) })],
    ['a closed connection', (_, response) => response.destroy()],
  ] as [string, RequestListener][])
    test(`do not count if they answer with ${what}, which is logged`, async (t) => {
      const b = await (await new Bench(t).answers(OTHER, listener)).open().round()
      assert.deepEqual([b.peers.view, b.lines.length], [{ ready: 0, seen: 0 }, 1])
    })

  test('have 1 s to answer', async (t) => {
    const reached = Promise.withResolvers<void>()
    const b = (await new Bench(t).answers(OTHER, () => reached.resolve())).open()
    b.peers.ask(true)
    await b.clock.pass(0)
    await reached.promise
    await b.clock.pass(999)
    assert.deepEqual(b.lines, [])
    await b.round(1)
    assert.equal(b.lines.length, 1)
  })

  test('do not count if their name cannot be resolved, and one lookup runs at a time', async (t) => {
    const resolving: PromiseWithResolvers<string[]>[] = []
    const b = (await three(t)).open(() => {
      resolving.push(Promise.withResolvers())
      return (resolving.at(-1) as PromiseWithResolvers<string[]>).promise
    })
    b.peers.ask(true)
    await b.clock.pass(60_000)
    b.peers.ask(false)
    b.peers.ask(true)
    await b.clock.pass(60_000)
    assert.equal(resolving.length, 1)
    resolving[0]?.reject(Object.assign(new Error('x'), { code: 'EAI_AGAIN' }))
    await settled()
    assert.deepEqual([b.peers.view, b.lines.length], [{ ready: 0, seen: 0 }, 1])
    await b.clock.pass(0)
    assert.equal(resolving.length, 2)
  })

  test('are asked at their earlier addresses while their name cannot be resolved', async (t) => {
    const b = await three(t)
    let resolves = true
    b.open(async () => {
      if (resolves) return b.addresses
      throw Object.assign(new Error('x'), { code: 'EAI_AGAIN' })
    })
    await b.round()
    const { view } = b.peers
    assert.ok(view !== null && view.seen > 0)
    resolves = false
    for (let round = 0; round < 5; round++) await b.round(5_000)
    assert.deepEqual(b.peers.view, view)
  })

  test('are found by name and by IPv6 address', async (t) => {
    const b = await (await new Bench(t).answers('::1', says('other', true))).open().round()
    assert.deepEqual(b.peers.view, { ready: 1, seen: 1 })
    const named = new Bench(t)
    await named.answers(ME, says('other', true))
    await named.answers('::1', says('other', true))
    await named.open(undefined).round()
    assert.deepEqual(named.peers.view, { ready: 1, seen: 1 })
  })
})

describe('the rows of the replicas', () => {
  const OWN = { pod: 'me', node: null, status: FOLLOWING, problem: null }

  test('contain, after the own one, each status, or why there is none', async (t) => {
    const b = new Bench(t)
    await b.answers(ME, says('me', false))
    await b.answers(OTHER, says('other-0_1', true))
    await b.answers(THIRD, says('stray-0_1', true, { ...LEASE, name: 'another' }))
    await b.answers('127.0.0.4', (_, response) => response.writeHead(500).end())
    const [own, silent, other, stray, ...more] = await b.open().peers.rows(() => OWN)
    assert.deepEqual([own, more], [OWN, []])
    assert.deepEqual([silent?.pod.split(':')[0], silent?.status], ['127.0.0.4', null])
    assert.deepEqual([other?.pod, other?.status?.identity, other?.problem], ['other-0', 'other-0_1', null])
    assert.deepEqual([stray?.pod, stray?.status], ['stray-0', null])
    assert.ok(silent?.problem && stray?.problem?.includes('team/another'))
  })

  test('contain a name that cannot be resolved', async (t) => {
    const b = new Bench(t).open(async () => {
      throw Object.assign(new Error('x'), { code: 'ENOTFOUND' })
    })
    const [, row] = await b.peers.rows(() => OWN)
    assert.deepEqual([row?.pod, row?.status, row?.problem?.endsWith('ENOTFOUND')], ['localhost', null, true])
  })

  test('come from at most 32 addresses', async () => {
    const many = async () => Array.from({ length: 40 }, (_, n) => `10.0.1.${n}`)
    assert.equal((await find([{ host: 'members', port: 8090 }], many)).origins.length, 32)
  })

  test('are collected on demand, once for all clients of a second', async (t) => {
    const b = (await three(t)).open()
    const rows = () => b.peers.rows(() => OWN)
    const [one, other] = [rows(), rows()]
    assert.equal(await one, await other)
    await b.clock.pass(999)
    assert.equal(await rows(), await one)
    assert.equal(b.asked.length, 3)
    await b.clock.pass(1)
    assert.notEqual(await rows(), await one)
  })
})
