import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { type Clock, systemClock } from '../../agent/clock.ts'
import { FatalError } from '../../agent/exit.ts'
import { LauncherKeys } from '../../agent/link/launcher-keys.ts'
import { LinkClient } from '../../agent/link/link-client.ts'
import {
  type Hello,
  MAX_LINE_BYTES,
  NOTHING,
  type ToAgent,
  type ToLauncher,
} from '../../agent/link/link-messages.ts'
import { LinkServer } from '../../agent/link/link-server.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { Series } from '../harness/wait.ts'

const VIEW = { ...NOTHING, state: 'running', epoch: 3, identity: 'me', pid: 42, killAt: 5 } as const

/** The hello of a new launcher. */
const NEW = { alone: true, view: NOTHING }

/** Collects values and lets a test wait for the next one. */
class Mailbox<T> {
  private readonly all = new Series<T>()
  private taken = 0

  put = (value: T): void => this.all.add(value)

  next(): Promise<T> {
    return this.all.next('the next value', () => true, this.taken++)
  }

  get empty(): boolean {
    return this.all.list.length === this.taken
  }
}

let dir: string
let socketPath: string
let open: (() => void)[]

beforeEach(() => {
  dir = temporaryDirectory()
  socketPath = join(dir, 'run', 'launcher.sock')
  open = []
})

afterEach(() => {
  for (const close of open.reverse()) close()
})

const AT = { mono: 9_000, boot: 9_000, wall: 9_000 }
const GRANT = {
  type: 'grant',
  grant: { epoch: 3, identity: 'me', doubtAt: AT, killAt: AT, onDoubt: 'freeze' },
} as const

function keysAt(clock: Clock = systemClock, look: ConstructorParameters<typeof LauncherKeys>[3] = null) {
  return new LauncherKeys(join(dir, 'state'), clock, 15_000, look)
}

async function agent(clock: Clock = systemClock) {
  const connected = new Mailbox<{ hello: Hello; returning: boolean }>()
  const received = new Mailbox<ToAgent>()
  const gone = new Mailbox<true>()
  const alarms = new Mailbox<string>()
  const server = new LinkServer({
    options: {
      socket: socketPath,
      target: { origin: 'http://127.0.0.1:7860', port: 7860 },
      standby: 'warm',
      startTimeoutMs: 60_000,
    },
    keys: keysAt(),
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
  const client = new LinkClient(socketPath, systemClock, {
    hello: () => ({ type: 'hello', version: 1, pid: 7, alone: true, mono: systemClock.mono(), view: VIEW }),
    received: received.put,
    down: down.put,
  })
  client.start()
  open.push(() => client.close())
  return { client, received, down }
}

/** An agent with a connected launcher. */
async function linked() {
  const a = await agent()
  const l = launcher()
  await a.connected.next()
  const welcome = await l.received.next()
  return { a, l, welcome }
}

/** A connection from another process in the LangFlow container. */
async function stranger(text = ''): Promise<{ socket: Socket; lines: Mailbox<ToLauncher> }> {
  const socket = connect(socketPath)
  socket.on('error', () => {})
  open.push(() => socket.destroy())
  await once(socket, 'connect')
  const lines = new Mailbox<ToLauncher>()
  createInterface({ input: socket }).on('line', (line) => lines.put(JSON.parse(line)))
  if (text !== '') socket.write(text)
  return { socket, lines }
}

/** The hello of another process, as a line. */
function hello(parts: object = {}): string {
  const its = { type: 'hello', version: 1, pid: 9, alone: true, mono: systemClock.mono(), view: VIEW }
  return `${JSON.stringify({ ...its, ...parts })}\n`
}

async function fatal(attempt: Promise<unknown>, reason: RegExp): Promise<void> {
  await assert.rejects(attempt, (error) => error instanceof FatalError && reason.test(error.message))
}

describe('the link', () => {
  test('carries orders to the launcher and facts to the agent', async () => {
    const { a, l, welcome } = await linked()
    assert.ok(welcome.type === 'welcome' && welcome.port === 7860 && welcome.tree.length === 64)
    a.server.send({ type: 'start', epoch: 3 })
    assert.deepEqual(await l.received.next(), { type: 'start', epoch: 3 })
    l.client.send({ type: 'pong', id: 5 })
    assert.deepEqual(await a.received.next(), { type: 'pong', id: 5 })
  })

  test('readmits the launcher of a dead agent by its token, and refuses other processes until then', async () => {
    const { a, l } = await linked()
    a.server.close()
    await l.down.next()
    const second = await agent()
    const forged = await stranger(hello())
    const answer = await forged.lines.next()
    assert.ok(answer.type === 'refused' && /may be alive/.test(answer.reason))
    const back = await second.connected.next()
    assert.equal(back.returning, true)
    assert.equal(back.hello.view.epoch, 3)
  })

  test('carries the last grant again when its launcher returns, unless a kill has ended it', async () => {
    for (const [last, repeated] of [
      [GRANT, [GRANT]],
      [{ type: 'kill' }, []],
    ] as const) {
      const { a, l, welcome } = await linked()
      assert.ok(welcome.type === 'welcome')
      a.server.send(GRANT)
      a.server.send(last)
      const back = await stranger(hello({ token: welcome.token }))
      assert.equal((await a.connected.next()).returning, true)
      a.server.send({ type: 'prepare' })
      const lines: ToLauncher[] = []
      while (lines.at(-1)?.type !== 'prepare') lines.push(await back.lines.next())
      assert.deepEqual(lines.slice(1, -1), repeated)
      l.client.close()
      a.server.close()
    }
  })

  test('refuses other processes with an alarm, and keeps its launcher', async () => {
    const { a, l } = await linked()
    const cases: [parts: object, reason: RegExp][] = [
      [{}, /another launcher is connected/],
      [{ token: 'f'.repeat(64) }, /the token was not issued by this agent/],
      [{ mono: systemClock.mono() + 3_600_000 }, /do not share one monotonic clock/],
      [{ version: 2 }, /are of different versions/],
    ]
    for (const [parts, reason] of cases) {
      const answer = await (await stranger(hello(parts))).lines.next()
      assert.ok(answer.type === 'refused' && reason.test(answer.reason))
      assert.match(await a.alarms.next(), reason)
    }
    l.client.send({ type: 'pong', id: 1 })
    assert.deepEqual(await a.received.next(), { type: 'pong', id: 1 })
    assert.ok(a.gone.empty && a.connected.empty)
  })

  test('closes a connection that does not begin with one valid hello, with an alarm', async () => {
    const { a, l } = await linked()
    const cases: [text: string, alarm: RegExp][] = [
      ['{"type":"terminating"}\n', /not begin with one hello/],
      ['nonsense\n', /a line that is not a JSON message/],
      ['x'.repeat(2 * MAX_LINE_BYTES), /a line of more than 64 KiB/],
      [hello({ view: null }), /not begin with one hello/],
      [`${hello({ token: 'f'.repeat(64) })}${hello()}`, /the token was not issued/],
    ]
    for (const [text, alarm] of cases) {
      const { socket } = await stranger(text)
      await once(socket, 'close')
      assert.match(await a.alarms.next(), alarm)
    }
    assert.ok(a.received.empty && a.connected.empty)
    l.client.send({ type: 'pong', id: 1 })
    assert.deepEqual(await a.received.next(), { type: 'pong', id: 1 })
  })

  test('admits the launcher although 40 connections stay silent', async () => {
    const a = await agent()
    for (let n = 0; n < 40; n++) await stranger()
    assert.match(await a.alarms.next(), /more than 8 connections wait/)
    launcher()
    await a.connected.next()
  })
})

describe('the socket', () => {
  test('replaces the socket of a dead agent, with access for user and group only', async () => {
    mkdirSync(join(dir, 'run'))
    const dead = createServer().listen(socketPath)
    await once(dead, 'listening')
    // A closing server removes the file at its path, so the socket is moved away before.
    renameSync(socketPath, `${socketPath}.kept`)
    dead.close()
    await once(dead, 'close')
    renameSync(`${socketPath}.kept`, socketPath)
    await linked()
    assert.equal(statSync(socketPath).mode & 0o777, 0o660)
  })

  test('does not replace the socket of a live agent or another file, and requires a directory', async () => {
    const a = await agent()
    await fatal(agent(), /another agent answers/)
    a.server.close()
    writeFileSync(socketPath, '')
    await fatal(agent(), /is not a socket/)
    rmSync(join(dir, 'run'), { recursive: true })
    writeFileSync(join(dir, 'run'), '')
    await fatal(agent(), /cannot create --socket/)
  })

  for (const [what, damage] of [
    ['removed', () => rmSync(socketPath)],
    ['replaced', () => rmSync(socketPath) ?? symlinkSync(socketPath, socketPath)],
  ] as const)
    test(`is created again, with an alarm, after it was ${what}, and the launcher stays connected`, async () => {
      const { a, l } = await linked()
      damage()
      assert.ok((await a.alarms.next()).includes(what))
      l.client.send({ type: 'pong', id: 3 })
      assert.deepEqual(await a.received.next(), { type: 'pong', id: 3 })
      l.client.close()
      await a.gone.next()
      launcher()
      await a.connected.next()
    })
})

describe('the keys', () => {
  test('are readable by the user alone, and survive the agent', () => {
    const { tree } = keysAt()
    assert.equal(statSync(join(dir, 'state', 'launcher.json')).mode & 0o777, 0o600)
    assert.equal(keysAt().tree, tree)
  })

  test('refuse a launcher without the token while the last launcher or its processes may live', async () => {
    const clock = new VirtualClock()
    let keys = keysAt(clock)
    const { token } = keys.admit(NEW, false) as { token: string }
    for (const [end, ms] of [
      [() => keys.launcherGone(true), 500],
      [() => keys.launcherGone(false), 15_000],
      // The agent restarts.
      [() => (keys = keysAt(clock)), 15_000],
    ] as const) {
      end()
      await clock.pass(ms - 1)
      assert.match(keys.admit(NEW, false).refused ?? '', /may be alive/)
      assert.ok('returning' in keys.admit({ ...NEW, token }, false))
      await clock.pass(1)
    }
    assert.equal(keys.admit(NEW, false).refused, undefined)
  })

  test('do not count after a reboot', () => {
    const { tree } = keysAt()
    const file = join(dir, 'state', 'launcher.json')
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), bootId: 'another' }))
    const keys = keysAt()
    assert.notEqual(keys.tree, tree)
    assert.equal(keys.admit(NEW, false).refused, undefined)
  })

  test('cause an error that names the flag if they cannot be stored', () => {
    writeFileSync(join(dir, 'state'), '')
    assert.throws(keysAt, (error) => error instanceof FatalError && /--state-dir/.test(error.message))
  })
})

/** The keys and the lock of a pod whose agent and launcher are killed and restarted, on a virtual clock. */
class KilledPod {
  private readonly clock = new VirtualClock()
  /** The lock file beside the socket. */
  private file = { id: 'file 1', held: false }
  private isByHand = false
  private keys!: LauncherKeys
  private token: string | undefined
  /** To the last hello. */
  answer = ''

  /** Runs the steps in this text, each a number of ms or a name of `steps`. */
  async play(text: string): Promise<string> {
    for (const word of text.split(' '))
      if (word in this.steps) this.steps[word as keyof typeof this.steps]()
      else await this.clock.pass(Number(word))
    return this.answer
  }

  private readonly steps = {
    leads: () => this.play('agent launcher locks epoch3'),
    'leads-unlocked': () => this.play('agent launcher epoch3'),
    agent: () => {
      this.keys = keysAt(this.clock, this.isByHand ? null : () => ({ ...this.file }))
    },
    launcher: () => this.hello({ token: undefined }),
    'shared-launcher': () => this.hello({ token: undefined, alone: false }),
    'running-launcher': () => this.hello({ token: undefined, view: VIEW }),
    returns: () => this.hello({}),
    locks: () => {
      this.file.held = true
      this.keys.locked()
    },
    epoch3: () => this.keys.granted({ ...GRANT.grant, epoch: 3 }),
    epoch4: () => this.keys.granted({ ...GRANT.grant, epoch: 4 }),
    /** The kernel drops the lock of a launcher that was killed. */
    dies: () => {
      this.file.held = false
    },
    /** The running agent sees the end of the launcher's connection. */
    gone: () => this.keys.launcherGone(true),
    cut: () => this.keys.launcherGone(false),
    'other-file': () => {
      this.file = { id: 'file 2', held: false }
    },
    'by-hand': () => {
      this.isByHand = true
    },
  }

  private hello(parts: object): void {
    const answer = this.keys.admit({ ...NEW, token: this.token, ...parts } as Hello, false)
    this.answer = answer.refused ?? answer.ended ?? 'welcome'
    this.token = answer.refused === undefined ? answer.token : undefined
  }
}

describe('the proof that the last launcher is dead', () => {
  const EARLIER = 'the earlier launcher, or its LangFlow, may be alive'
  const PROVEN = 'leads dies agent 500 launcher'
  const PROOFS: [what: string, steps: string, answer: string][] = [
    ['exists 500 ms after its lock was seen free', PROVEN, 'me 3'],
    ['does not exist before these 500 ms', 'leads dies agent 499 launcher', EARLIER],
    ['does not exist while its lock is held', 'leads agent 14999 launcher', EARLIER],
    ['exists if it dies after the agent’s restart', 'leads agent dies launcher 500 launcher', 'me 3'],
    ['exists for an agent that kept running', 'leads dies gone 500 launcher', 'me 3'],
    ['does not exist if only the connection was cut', 'leads cut 15000 launcher', 'welcome'],
    ['does not exist without a lock', 'leads-unlocked agent 15000 launcher', 'welcome'],
    ['does not exist if the lock file was replaced', 'leads other-file agent 15000 launcher', 'welcome'],
    ['requires that the next one is alone', 'leads dies agent 15000 shared-launcher', 'welcome'],
    ['requires that the next one runs nothing', 'leads dies agent 500 running-launcher', EARLIER],
    ['does not exist for an identity set by hand', 'by-hand leads dies agent 15000 launcher', 'welcome'],
    ['outlives another kill of both', `${PROVEN} locks dies agent 500 launcher`, 'me 3'],
    ['ends with a term of the next launcher', `${PROVEN} locks epoch4 agent returns`, 'welcome'],
    ['does not follow from the end of its grant', 'leads agent 15000 launcher', 'welcome'],
    ['does not exist if the same launcher returns', 'leads agent returns', 'welcome'],
    ['names the next term', `${PROVEN} locks epoch4 dies agent 500 launcher`, 'me 4'],
    ['ends if the next launcher continues its term', `${PROVEN} locks epoch3 agent returns`, 'welcome'],
  ]
  for (const [what, steps, answer] of PROOFS)
    test(what, async () => assert.equal(await new KilledPod().play(steps), answer))
})
