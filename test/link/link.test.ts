import assert from 'node:assert/strict'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { type Clock, systemClock } from '../../agent/clock.ts'
import { FatalError } from '../../agent/exit.ts'
import { LinkClient } from '../../agent/link/client.ts'
import { LauncherKeys } from '../../agent/link/keys.ts'
import {
  MAX_LINE_BYTES,
  NOTHING,
  type ToAgent,
  type ToLauncher,
  type WorkloadView,
} from '../../agent/link/messages.ts'
import { type Hello, LinkServer } from '../../agent/link/server.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const VIEW: WorkloadView = {
  ...NOTHING,
  state: 'running',
  epoch: 3,
  identity: 'me',
  pid: 42,
  killAt: 5,
}

/** Collects values and lets a test wait for the next one. */
class Mailbox<T> {
  private readonly arrived: T[] = []
  private waiting: ((value: T) => void) | null = null

  put = (value: T): void => {
    const { waiting } = this
    this.waiting = null
    if (waiting) waiting(value)
    else this.arrived.push(value)
  }

  next(): Promise<T> {
    const value = this.arrived.shift()
    return value === undefined ? new Promise((resolve) => (this.waiting = resolve)) : Promise.resolve(value)
  }

  get empty(): boolean {
    return this.arrived.length === 0
  }
}

let dir: string
let open: (() => void)[]

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'link-'))
  open = []
})

afterEach(() => {
  for (const close of open.reverse()) close()
  rmSync(dir, { recursive: true })
})

function keysAt(grantLifeMs = 60_000): LauncherKeys {
  return new LauncherKeys(join(dir, 'state'), systemClock, grantLifeMs)
}

async function agent(keys = keysAt(), clock: Clock = systemClock) {
  const connected = new Mailbox<{ hello: Hello; returning: boolean }>()
  const received = new Mailbox<ToAgent>()
  const gone = new Mailbox<true>()
  const alarms = new Mailbox<string>()
  const server = new LinkServer({
    path: join(dir, 'run', 'launcher.sock'),
    port: 7860,
    standby: 'warm',
    spare: true,
    patienceMs: 60_000,
    keys,
    clock,
    handlers: {
      connected: (hello, returning) => connected.put({ hello, returning }),
      received: received.put,
      gone: () => gone.put(true),
    },
    alarm: alarms.put,
  })
  await server.listen()
  open.push(() => server.close())
  return { server, connected, received, gone, alarms }
}

function launcher() {
  const received = new Mailbox<ToLauncher>()
  const down = new Mailbox<string>()
  const client = new LinkClient(join(dir, 'run', 'launcher.sock'), systemClock, {
    hello: () => ({
      type: 'hello',
      version: 1,
      pid: 7,
      alone: true,
      mono: systemClock.mono(),
      view: VIEW,
    }),
    received: received.put,
    down: down.put,
  })
  client.start()
  open.push(() => client.close())
  return { client, received, down }
}

/** Whoever else runs in the LangFlow container. */
async function stranger(first?: object): Promise<{ socket: Socket; lines: Mailbox<ToLauncher> }> {
  const socket = connect(join(dir, 'run', 'launcher.sock'))
  socket.on('error', () => {})
  open.push(() => socket.destroy())
  await once(socket, 'connect')
  const lines = new Mailbox<ToLauncher>()
  createInterface({ input: socket }).on('line', (line) => lines.put(JSON.parse(line)))
  if (first) socket.write(`${JSON.stringify(first)}\n`)
  return { socket, lines }
}

const hello = { type: 'hello', version: 1, pid: 9, alone: true, view: VIEW }

describe('the link', () => {
  test('carries orders down and facts up', async () => {
    const a = await agent()
    const l = launcher()
    assert.equal((await a.connected.next()).returning, false)
    const welcome = await l.received.next()
    assert.ok(welcome.type === 'welcome' && welcome.port === 7860 && welcome.tree.length === 64)
    a.server.send({ type: 'start', epoch: 3 })
    assert.deepEqual(await l.received.next(), { type: 'start', epoch: 3 })
    l.client.send({ type: 'pong', id: 5 })
    assert.deepEqual(await a.received.next(), { type: 'pong', id: 5 })
  })

  test('brings a launcher that ends no more orders', async () => {
    const a = await agent()
    const l = launcher()
    await a.connected.next()
    assert.equal((await l.received.next()).type, 'welcome')
    l.client.close()
    a.server.send({ type: 'start', epoch: 3 })
    await a.gone.next()
    // Its welcome comes after whatever was sent before.
    assert.equal((await launcher().received.next()).type, 'welcome')
    assert.ok(l.received.empty)
    assert.equal(l.client.connected, false)
  })

  test('says nothing of what its launcher still sends while it closes', async () => {
    const a = await agent()
    const l = launcher()
    await a.connected.next()
    await l.received.next()
    a.server.close()
    l.client.send({ type: 'pong', id: 5 })
    assert.equal(await l.down.next(), 'the agent closed the connection')
    assert.ok(a.alarms.empty, a.alarms.empty ? '' : await a.alarms.next())
  })

  test('serves one launcher at a time', async () => {
    const a = await agent()
    launcher()
    await a.connected.next()
    const other = await stranger({ ...hello, mono: systemClock.mono() })
    assert.deepEqual(await other.lines.next(), { type: 'refused', reason: 'another launcher is connected' })
    assert.ok(a.gone.empty)
  })

  test('lets the launcher of a dead agent back in by its token, and nobody else meanwhile', async () => {
    const first = await agent()
    const l = launcher()
    await first.connected.next()
    await l.received.next()
    first.server.close()
    await l.down.next()
    const second = await agent(keysAt())
    const forged = await stranger({ ...hello, mono: systemClock.mono() })
    const answer = await forged.lines.next()
    assert.ok(answer.type === 'refused' && /waiting for the launcher/.test(answer.reason))
    const back = await second.connected.next()
    assert.equal(back.returning, true)
    assert.equal(back.hello.view.epoch, 3)
  })

  test('lets a new launcher in once the old one’s grants must be over', async () => {
    keysAt()
    await agent(keysAt(0))
    const l = launcher()
    assert.equal((await l.received.next()).type, 'welcome')
  })

  test('refuses a wrong token', async () => {
    const a = await agent()
    const forged = await stranger({ ...hello, mono: systemClock.mono(), token: 'f'.repeat(64) })
    const answer = await forged.lines.next()
    assert.ok(answer.type === 'refused' && /token/.test(answer.reason))
    assert.ok(a.connected.empty)
  })

  test('refuses a launcher that reads another monotonic clock', async () => {
    await agent()
    const { lines } = await stranger({ ...hello, mono: systemClock.mono() + 3_600_000 })
    const answer = await lines.next()
    assert.ok(answer.type === 'refused' && /monotonic clock/.test(answer.reason))
  })

  test('ends a stranger that sends facts, nonsense, or a line without end, and goes on serving its launcher', async () => {
    const a = await agent()
    const l = launcher()
    await a.connected.next()
    await l.received.next()
    for (const text of ['{"type":"terminating"}\n', 'nonsense\n', '[]\n', 'x'.repeat(2 * MAX_LINE_BYTES)]) {
      const { socket } = await stranger()
      const closed = once(socket, 'close')
      socket.write(text)
      await closed
    }
    assert.ok(a.received.empty)
    l.client.send({ type: 'pong', id: 1 })
    assert.deepEqual(await a.received.next(), { type: 'pong', id: 1 })
  })

  test('hears a stranger for one line, and ends one whose hello lacks something', async () => {
    const a = await agent()
    const { socket } = await stranger()
    const closed = once(socket, 'close')
    const forged = { ...hello, mono: systemClock.mono(), token: 'f'.repeat(64) }
    socket.write(`${JSON.stringify(forged)}\n${JSON.stringify({ ...forged, token: undefined })}\n`)
    await closed
    assert.match(await a.alarms.next(), /turned somebody away .*: the token is not the one/)
    for (const part of ['pid', 'alone', 'mono', 'langflow', 'view']) {
      const { socket } = await stranger({ ...hello, mono: systemClock.mono(), [part]: null })
      await once(socket, 'close')
      // The first stranger’s second line may be told of as well.
      while (!/its first line is no hello/.test(await a.alarms.next()));
    }
    assert.ok(a.received.empty && a.connected.empty)
  })

  test('ends a launcher that says hello again', async () => {
    const a = await agent()
    const { socket } = await stranger({ ...hello, mono: systemClock.mono() })
    await a.connected.next()
    socket.write(`${JSON.stringify({ ...hello, mono: systemClock.mono() })}\n`)
    await a.gone.next()
    assert.match(await a.alarms.next(), /a second hello/)
  })

  test('raises an alarm for whoever is turned away', async () => {
    const a = await agent()
    launcher()
    await a.connected.next()
    const cases: [what: string, alarm: RegExp][] = [
      [`${JSON.stringify({ ...hello, mono: systemClock.mono() })}\n`, /another launcher is connected/],
      [`${JSON.stringify({ type: 'pong', id: 1 })}\n`, /its first line is no hello/],
      ['nonsense\n', /a line that is no message/],
      ['x'.repeat(MAX_LINE_BYTES + 1), /a line of more than 64 KiB/],
    ]
    for (const [what, alarm] of cases) {
      const { socket } = await stranger()
      socket.write(what)
      assert.match(await a.alarms.next(), alarm)
    }
    for (let n = 0; n < 9; n++) await stranger()
    assert.match(await a.alarms.next(), /more than 8 that said nothing yet/)
    assert.ok(a.gone.empty)
  })

  test('cannot be held open by strangers that say nothing', async () => {
    const a = await agent()
    for (let n = 0; n < 40; n++) await stranger()
    launcher()
    await a.connected.next()
  })

  test('tells when the launcher is gone, and takes a new one then', async () => {
    const a = await agent()
    const first = launcher()
    await a.connected.next()
    await first.received.next()
    first.client.close()
    await a.gone.next()
    const hasty = await stranger({ ...hello, mono: systemClock.mono() })
    const answer = await hasty.lines.next()
    assert.ok(answer.type === 'refused' && /that has just ended/.test(answer.reason))
    launcher()
    assert.equal((await a.connected.next()).returning, false)
  })

  test('tells a few of the reasons that somebody in the agent’s place makes up', async () => {
    mkdirSync(join(dir, 'run'))
    const twentieth = Promise.withResolvers<void>()
    let made = 0
    const fake = createServer((socket) => {
      if (++made === 20) twentieth.resolve()
      socket.on('error', () => {}).end(`${JSON.stringify({ type: 'refused', reason: `reason ${made}` })}\n`)
    }).listen(join(dir, 'run', 'launcher.sock'))
    open.push(() => fake.close())
    const { down } = launcher()
    await twentieth.promise
    for (let n = 1; n <= 10; n++) assert.equal(await down.next(), `reason ${n}`)
    assert.ok(down.empty)
  })

  test('tells the launcher why there is no agent, once', async () => {
    const l = launcher()
    assert.match(await l.down.next(), /no socket at .* yet/)
    const a = await agent()
    await a.connected.next()
    assert.ok(l.down.empty)
  })
})

describe('the socket', () => {
  test('replaces what a dead agent left, but not a live agent, and no other file', async () => {
    const a = await agent()
    await assert.rejects(
      agent(),
      (error) => error instanceof FatalError && /another agent answers/.test(error.message),
    )
    a.server.close()
    const path = join(dir, 'run', 'launcher.sock')
    rmSync(path, { force: true })
    writeFileSync(path, '')
    await assert.rejects(
      agent(),
      (error) => error instanceof FatalError && /is no socket/.test(error.message),
    )
  })

  const damages: [what: string, damage: (path: string) => void, alarm: RegExp][] = [
    ['removed', (path) => rmSync(path), /the socket was removed/],
    [
      'replaced',
      (path) => {
        renameSync(path, `${path}.old`)
        open.push(() => another.close())
        const another = createServer().listen(path)
      },
      /the socket was replaced/,
    ],
    [
      'turned into a link that leads nowhere',
      (path) => {
        rmSync(path)
        symlinkSync(path, path)
      },
      /the socket was replaced/,
    ],
  ]
  for (const [what, damage, alarm] of damages) {
    test(`that was ${what} is made again, with an alarm, and the launcher stays connected`, async () => {
      const a = await agent()
      const first = launcher()
      await a.connected.next()
      await first.received.next()
      damage(join(dir, 'run', 'launcher.sock'))
      assert.match(await a.alarms.next(), alarm)
      first.client.send({ type: 'pong', id: 3 })
      assert.deepEqual(await a.received.next(), { type: 'pong', id: 3 })
      first.client.close()
      await a.gone.next()
      launcher()
      await a.connected.next()
    })
  }

  test('is not made again by an agent that ends meanwhile', async () => {
    const clock = new VirtualClock()
    const a = await agent(keysAt(), clock)
    rmSync(join(dir, 'run', 'launcher.sock'))
    void a.alarms.next().then(() => a.server.close())
    await clock.pass(1000)
    await clock.pass(1000)
    assert.equal(clock.next(), Infinity)
    await assert.rejects(stranger(), /ENOENT|ECONNREFUSED/)
  })

  test('is for user and group only', async () => {
    await agent()
    assert.equal(statSync(join(dir, 'run', 'launcher.sock')).mode & 0o777, 0o660)
  })

  test('that cannot be made is one sentence', async () => {
    writeFileSync(join(dir, 'run'), '')
    await assert.rejects(
      agent(),
      (error) => error instanceof FatalError && /cannot create the directory/.test(error.message),
    )
  })
})

describe('the keys', () => {
  test('are kept for the user alone, and survive the agent', () => {
    const { tree } = keysAt()
    const file = join(dir, 'state', 'launcher.json')
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.equal(keysAt().tree, tree)
  })

  test('let nobody in without the token while the launcher, or what it ran, may live', async () => {
    const clock = new VirtualClock()
    const keys = new LauncherKeys(join(dir, 'state'), clock, 15_000)
    const { token } = keys.admit(undefined, false) as { token: string }
    for (const [byPeer, ms, why] of [
      [true, 500, /that has just ended/],
      [false, 15_000, /whose connection was cut/],
    ] as const) {
      keys.launcherGone(byPeer)
      await clock.pass(ms - 1)
      assert.match(keys.admit(undefined, false).refused ?? '', why)
      assert.deepEqual(keys.admit(token, false), { token, tree: keys.tree, returning: true })
      await clock.pass(1)
    }
    assert.equal(keys.admit(undefined, false).refused, undefined)
  })

  test('of an earlier boot count for nothing', () => {
    const { tree } = keysAt()
    const file = join(dir, 'state', 'launcher.json')
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), bootId: 'another' }))
    const keys = keysAt()
    assert.notEqual(keys.tree, tree)
    assert.equal(keys.admit(undefined, false).refused, undefined)
  })

  test('that cannot be stored are one sentence', () => {
    writeFileSync(join(dir, 'state'), '')
    assert.throws(keysAt, (error) => error instanceof FatalError && /--state-dir/.test(error.message))
  })
})
