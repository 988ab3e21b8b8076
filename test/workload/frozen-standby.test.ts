import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { FrozenStandby } from '../../agent/workload/frozen-standby.ts'
import { cpuTicks, readStat } from '../../agent/workload/proc.ts'
import type { Exit, LiveProcess, ProcessTree } from '../../agent/workload/process-tree.ts'
import { COLD, type StandbyView } from '../../agent/workload/standby.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'

const PATIENCE_MS = 600_000
const THAW_MS = 2_000
const QUIET_MS = 1_000
const LOOK_MS = 5_000
/** A database of which it cannot be tried out whether it is there. */
const UNIX_SOCKET = 'postgresql:///langflow?host=/run/postgresql'
const NO_PROCESS = 2 ** 22 + 1
const COMMAND = ['langflow', 'run']
const KILLED: Exit = { code: null, signal: 'SIGKILL' }

/** Processes whose memory and time are looked at: two that idle. */
const idlers = [0, 1].map(() => spawn('sleep', ['600'], { stdio: 'ignore' }))
const [FIRST, WORKER] = idlers.map(({ pid }) => pid as number) as [number, number]
before(async () => {
  // Until then it is a copy of this program.
  await until('they sleep', async () => idlers.every(({ pid }) => readStat(pid as number)?.comm === 'sleep'))
})
after(() => {
  for (const idler of idlers) idler.kill('SIGKILL')
})

/** A LangFlow made of flags; its pids are those of processes that are not its own. */
class FakeTree implements ProcessTree {
  readonly calls: string[] = []
  pids: number[] = []
  awake = 0
  env: NodeJS.ProcessEnv = {}
  /** What its start, and its end, wait for. */
  starting: Promise<void> = Promise.resolve()
  dying: Promise<void> = Promise.resolve()
  exited: (exit: Exit) => void = () => {}

  async start(command: readonly string[], env: NodeJS.ProcessEnv, exited: (exit: Exit) => void) {
    this.calls.push(`start ${command.join(' ')}`)
    await this.starting
    this.env = env
    this.exited = exited
    this.pids = [FIRST, WORKER]
    this.awake = this.pids.length
    return { pid: FIRST }
  }
  alive = (): LiveProcess[] => this.pids.map((pid) => ({ pid, startTime: '1', state: 'S', comm: 'langflow' }))
  terminate() {
    assert.fail('it has nothing to clean up')
  }
  freeze() {
    const { awake } = this
    if (awake > 0) this.calls.push('freeze')
    this.awake = 0
    return { stopped: this.pids.length, awake }
  }
  thaw() {
    assert.fail('it is for the launcher to thaw')
  }
  async kill() {
    this.calls.push('kill')
    await this.dying
    const had = this.pids.length > 0
    this.pids = []
    if (had) this.exited(KILLED)
    return this.alive()
  }
  /** Its first process ends; the others serve on. */
  end(exit: Exit) {
    this.pids = [WORKER]
    this.exited(exit)
  }
}

function gate() {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { promise, open: resolve }
}

class Bench {
  readonly clock = new VirtualClock()
  readonly trees: FakeTree[] = []
  readonly views: StandbyView[] = []
  readonly notes: string[] = []
  readonly asked: number[] = []
  env: NodeJS.ProcessEnv = { LANGFLOW_DATABASE_URL: UNIX_SOCKET }
  port: string | null = null
  looking: Promise<void> = Promise.resolve()
  problem: string | null = null
  stale = 0
  /** Before it is used. */
  arrange = (_tree: FakeTree): void => {}
  readonly standby = new FrozenStandby({
    command: COMMAND,
    environment: () => this.env,
    clock: this.clock,
    tree: () => {
      const tree = new FakeTree()
      this.arrange(tree)
      this.trees.push(tree)
      return tree
    },
    portHolder: async () => {
      await this.looking
      return this.port
    },
    health: async (timeoutMs) => {
      this.asked.push(timeoutMs)
      return this.problem
    },
    patienceMs: PATIENCE_MS,
    thawMs: THAW_MS,
    changed: (view) => this.views.push(view),
    stale: () => this.stale++,
    note: (level, sentence) => this.notes.push(`${level}: ${sentence}`),
  })

  get tree(): FakeTree {
    return this.trees.at(-1) ?? assert.fail('nothing was started')
  }

  async started(): Promise<this> {
    this.standby.prepare()
    await settled()
    return this
  }

  async ready(): Promise<this> {
    await this.started()
    await this.clock.pass(QUIET_MS)
    assert.equal(this.standby.view.state, 'ready')
    return this
  }

  /** It is cold for this reason, and nothing of it lives. */
  assertCold(reason: string): void {
    assert.deepEqual(this.standby.view, { ...COLD, reason: `LangFlow cannot be kept frozen: ${reason}` })
    for (const { pids } of this.trees) assert.deepEqual(pids, [])
  }

  states(): string[] {
    return this.views.map(({ mode, state }) => `${mode} ${state}`)
  }
}

/** Whether it is over by now. */
async function isOver(promise: Promise<unknown>): Promise<boolean> {
  let over = false
  void promise.then(() => {
    over = true
  })
  await settled()
  return over
}

describe('a LangFlow that is to be frozen', () => {
  test('is started, and frozen once it was healthy and idles', async () => {
    const b = new Bench()
    b.problem = '/health_check: ECONNREFUSED'
    b.standby.prepare()
    b.standby.prepare()
    await b.clock.pass(30_000)
    assert.deepEqual(b.tree.calls, ['start langflow run'])
    assert.deepEqual(b.states(), ['frozen preparing'])
    b.problem = null
    await b.clock.pass(250 + QUIET_MS - 1)
    assert.deepEqual(b.tree.calls, ['start langflow run'])
    assert.equal(await isOver(b.standby.settled()), false)
    await b.clock.pass(1)
    assert.deepEqual(b.tree.calls, ['start langflow run', 'freeze'])
    await b.standby.settled()
    assert.deepEqual(b.states(), ['frozen preparing', 'frozen ready'])
    assert.equal(b.trees.length, 1)
  })

  test('is told in its environment that its worker may hang, which is noted', async () => {
    const b = await new Bench().started()
    assert.deepEqual(b.tree.env, { ...b.env, LANGFLOW_WORKER_TIMEOUT: '0' })
    assert.match(b.notes.join(), /^info: LANGFLOW_WORKER_TIMEOUT=0 is set/)
  })

  test('holds the memory of all its processes', async () => {
    const one = new Bench()
    one.arrange = (tree) => {
      tree.alive = () => [{ pid: FIRST, startTime: '1', state: 'S', comm: 'langflow' }]
    }
    await one.ready()
    const both = await new Bench().ready()
    const [less, more] = [one.standby.view.memoryBytes ?? 0, both.standby.view.memoryBytes ?? 0]
    assert.ok(less > 10_000 && more > less, `${less} and ${more} bytes`)
    const unknown = await new Bench().started()
    unknown.tree.pids = [FIRST, NO_PROCESS]
    await unknown.clock.pass(20_000)
    assert.equal(unknown.standby.view.state, 'ready')
    assert.equal(unknown.standby.view.memoryBytes, null)
  })

  test('is given time to come to rest, but not for ever', async () => {
    const b = await new Bench().started()
    // One that has used a core for longer than idling allows.
    while ((cpuTicks(process.pid) ?? 0) < 20);
    b.tree.pids = [FIRST, WORKER, process.pid]
    await b.clock.pass(QUIET_MS)
    assert.equal(b.standby.view.state, 'preparing')
    await b.clock.pass(QUIET_MS)
    assert.equal(b.standby.view.state, 'ready')
    const restless = await new Bench().started()
    restless.tree.pids = [NO_PROCESS]
    await restless.clock.pass(19_999)
    assert.equal(restless.standby.view.state, 'preparing')
    await restless.clock.pass(1)
    assert.equal(restless.standby.view.state, 'ready')
  })
})

describe('a LangFlow cannot be kept frozen', () => {
  test('that is not healthy in time: it is killed', async () => {
    const b = new Bench()
    b.problem = '/health_check: 500'
    await b.started()
    await b.clock.pass(PATIENCE_MS - 1)
    assert.equal(b.standby.view.state, 'preparing')
    await b.clock.pass(1)
    b.assertCold('it was not healthy within 600 s')
    assert.deepEqual(b.tree.calls, ['start langflow run', 'kill'])
  })

  test('whose port is taken: nothing is started', async () => {
    const b = new Bench()
    b.port = 'port 7860 is already taken by "nginx" (pid 7)'
    await b.started()
    b.assertCold(b.port)
    assert.equal(b.trees.length, 0)
    assert.equal(b.standby.unfit, false)
  })

  test('whose database is not there: nothing is started, and neither host nor password is told', async () => {
    const b = new Bench()
    b.env = { LANGFLOW_DATABASE_URL: `postgresql://user:s3cret@127.0.0.1:${await freePort()}/db` }
    b.standby.prepare()
    await b.standby.settled()
    b.assertCold('PostgreSQL cannot be reached: ECONNREFUSED')
    assert.equal(b.trees.length, 0)
    assert.deepEqual([b.standby.unfit, b.notes], [false, []])
  })

  test('whose database is SQLite: it is unfit until its environment is another one', async () => {
    const b = new Bench()
    b.env = {}
    await b.started()
    assert.match(b.standby.view.reason ?? '', /^LangFlow cannot be kept frozen: .* its database is SQLite/)
    assert.deepEqual([b.standby.unfit, b.trees.length], [true, 0])
    b.env = { LANGFLOW_DATABASE_URL: UNIX_SOCKET }
    await b.ready()
    assert.equal(b.standby.unfit, false)
  })

  test('whose command cannot be started', async () => {
    const b = new Bench()
    b.arrange = (tree) => {
      tree.starting = Promise.reject(new Error('cannot start "langflow": no such command in PATH'))
    }
    await b.started()
    b.assertCold('cannot start "langflow": no such command in PATH')
    await b.standby.settled()
  })

  test('that ends while it is being prepared: what is left of it is killed', async () => {
    const b = await new Bench().started()
    b.tree.end({ code: 3, signal: null })
    await settled()
    b.assertCold('it ended (exit code 3)')
    await b.clock.pass(QUIET_MS)
    assert.deepEqual(b.tree.calls, ['start langflow run', 'kill'])
  })

  test('that does not stop, or of which that cannot be told', async () => {
    for (const freeze of [() => ({ stopped: 0, awake: 0 }), () => ({ stopped: 1, awake: 0 })]) {
      const b = new Bench()
      b.arrange = (tree) => {
        tree.freeze = freeze
      }
      await b.started()
      await b.clock.pass(QUIET_MS)
      b.assertCold('it could not be frozen')
    }
    const vanished = await new Bench().started()
    vanished.tree.pids = []
    await vanished.clock.pass(QUIET_MS)
    vanished.assertCold('it could not be frozen')
    const b = await new Bench().started()
    b.tree.freeze = () => {
      throw new Error('cannot tell which processes live')
    }
    await b.clock.pass(QUIET_MS)
    b.assertCold('cannot tell which processes live')
  })

  test('until nothing of it lives: it settles no sooner', async () => {
    const b = new Bench()
    const death = gate()
    b.arrange = (tree) => {
      tree.dying = death.promise
    }
    await b.started()
    const settling = b.standby.settled()
    b.tree.end({ code: 1, signal: null })
    assert.equal(await isOver(settling), false)
    assert.equal(await isOver(b.standby.settled()), false)
    assert.equal(b.standby.view.state, 'preparing')
    death.open()
    await Promise.all([settling, b.standby.settled()])
    b.assertCold('it ended (exit code 1)')
  })

  test('that cannot be killed: the next start will say so', async () => {
    const b = await new Bench().started()
    b.tree.kill = () => Promise.reject(new Error('cannot tell which processes live'))
    b.tree.end({ code: 1, signal: null })
    await b.standby.settled()
    assert.equal(b.standby.view.mode, 'cold')
  })

  test('is said once; it can be prepared again', async () => {
    const b = await new Bench().started()
    b.tree.end({ code: 1, signal: null })
    await settled()
    await b.ready()
    assert.deepEqual(b.standby.view.reason, null)
    assert.equal(b.trees.length, 2)
  })
})

describe('what is in the way of it', () => {
  test('is told without preparing anything', async () => {
    const b = new Bench()
    assert.equal(await b.standby.obstacle(), null)
    b.port = 'port 7860 is already taken by "nginx" (pid 7)'
    assert.equal(await b.standby.obstacle(), b.port)
    b.env = { LANGFLOW_DATABASE_URL: `postgresql://127.0.0.1:${await freePort()}/db` }
    assert.equal(await b.standby.obstacle(), 'PostgreSQL cannot be reached: ECONNREFUSED')
    b.env = {}
    assert.match((await b.standby.obstacle()) ?? '', /its database is SQLite/)
    assert.equal(b.standby.unfit, true)
    assert.deepEqual([b.views, b.trees], [[], []])
  })
})

describe('a frozen LangFlow', () => {
  test('is left alone as long as nothing happens', async () => {
    const b = await new Bench().ready()
    await b.clock.pass(3_600_000)
    assert.deepEqual(b.tree.calls, ['start langflow run', 'freeze'])
    assert.equal(b.standby.view.state, 'ready')
    assert.equal(b.stale, 0)
  })

  test('that ends, e.g. is killed for its memory, is missed at once', async () => {
    const b = await new Bench().ready()
    b.tree.end(KILLED)
    await settled()
    b.assertCold('it ended (SIGKILL)')
    assert.equal(b.tree.calls.at(-1), 'kill')
    assert.deepEqual(b.states().slice(-2), ['frozen preparing', 'cold none'])
  })

  test('of which one process vanishes is killed at the next look', async () => {
    const b = await new Bench().ready()
    b.tree.pids = [FIRST]
    await b.clock.pass(LOOK_MS)
    b.assertCold('one of its processes has ended')
    assert.equal(b.tree.calls.at(-1), 'kill')
  })

  test('that is woken by somebody is frozen again at the next look, each time', async () => {
    const b = await new Bench().ready()
    for (const time of [1, 2]) {
      b.tree.awake = 2
      await b.clock.pass(LOOK_MS)
      assert.deepEqual(b.tree.calls.slice(1), Array(time + 1).fill('freeze'))
    }
    assert.equal(b.standby.view.state, 'ready')
  })

  test('is killed where it cannot be told any more what lives', async () => {
    const b = await new Bench().ready()
    b.tree.freeze = () => {
      throw new Error('cannot tell which processes live')
    }
    await b.clock.pass(LOOK_MS)
    b.assertCold('cannot tell which processes live')
  })

  async function withFlows(t: TestContext) {
    const flows = mkdtempSync(join(tmpdir(), 'frozen-flows-'))
    t.after(() => rmSync(flows, { recursive: true }))
    writeFileSync(join(flows, 'a.json'), '{}')
    const b = new Bench()
    b.env = { ...b.env, LANGFLOW_LOAD_FLOWS_PATH: flows }
    b.standby.prepare()
    await until('it waits to come to rest', async () => b.clock.next() < Number.POSITIVE_INFINITY)
    await b.clock.pass(QUIET_MS)
    assert.equal(b.standby.view.state, 'ready')
    const look = async () => {
      await b.clock.pass(LOOK_MS)
      await until('it will look again', async () => b.clock.next() < Number.POSITIVE_INFINITY)
    }
    return { b, look, change: () => writeFileSync(join(flows, 'b.json'), '{}') }
  }

  test('whose flows have changed is told to be stale, once, and watched on until it is renewed', async (t) => {
    const { b, look, change } = await withFlows(t)
    await look()
    assert.equal(b.stale, 0)
    change()
    await look()
    await look()
    assert.equal(b.stale, 1)
    assert.equal(b.standby.view.state, 'ready')
    b.tree.awake = 2
    await look()
    assert.equal(b.tree.awake, 0)
  })

  test('is prepared from the flows of that time when it is prepared again', async (t) => {
    const { b, look, change } = await withFlows(t)
    await b.standby.discard()
    change()
    // The last look of the one before.
    await b.clock.pass(LOOK_MS)
    b.standby.prepare()
    await until('it waits to come to rest', async () => b.clock.next() < Number.POSITIVE_INFINITY)
    await b.clock.pass(QUIET_MS)
    await look()
    assert.deepEqual([b.standby.view.state, b.stale, b.trees.length], ['ready', 0, 2])
  })
})

describe('a frozen LangFlow that is taken', () => {
  async function taken() {
    const b = await new Bench().ready()
    const exits: Exit[] = []
    const workload = b.standby.takeFrozen((exit) => exits.push(exit)) ?? assert.fail('there is none')
    return { b, exits, workload }
  }

  test('is given away with its tree and pid, and its end is told to its new holder alone', async () => {
    const { b, exits, workload } = await taken()
    assert.deepEqual([workload.tree, workload.pid], [b.tree, FIRST])
    assert.deepEqual(b.standby.view, { ...COLD, mode: 'frozen' })
    b.tree.end({ code: 1, signal: null })
    await settled()
    assert.deepEqual(exits, [{ code: 1, signal: null }])
    assert.deepEqual(b.states(), ['frozen preparing', 'frozen ready', 'frozen none'])
    assert.ok(!b.tree.calls.includes('kill'))
  })

  test('can be had once, and only when it is ready', async () => {
    const none = () => assert.fail('it is told nothing')
    const b = new Bench()
    assert.equal(b.standby.takeFrozen(none), null)
    await b.started()
    assert.equal(b.standby.takeFrozen(none), null)
    await b.clock.pass(QUIET_MS)
    assert.ok(b.standby.takeFrozen(none))
    assert.equal(b.standby.takeFrozen(none), null)
  })

  test('is not looked after any more: neither frozen nor killed', async () => {
    const { b } = await taken()
    b.tree.awake = 2
    b.tree.pids = [FIRST]
    await b.clock.pass(60_000)
    await b.standby.discard()
    assert.deepEqual([b.tree.awake, b.tree.pids], [2, [FIRST]])
  })

  test('answers as soon as it is healthy', async () => {
    const { b, workload } = await taken()
    b.problem = '/health_check: 500'
    b.asked.length = 0
    const answer = workload.answers()
    await b.clock.pass(100)
    assert.deepEqual(b.asked, [2_000, 1_975, 1_950, 1_925, 1_900], 'within what is left of its time')
    b.problem = null
    await b.clock.pass(25)
    assert.equal(await answer, null)
    assert.equal(b.standby.view.reason, null)
  })

  test('is told to be unhealthy after its time, by the view as well', async () => {
    const { b, workload } = await taken()
    b.problem = '/health_check: 500'
    const answer = workload.answers()
    await b.clock.pass(THAW_MS)
    const reason = 'the frozen LangFlow was not healthy within 2 s of its thaw (/health_check: 500)'
    assert.equal(await answer, reason)
    assert.deepEqual(b.standby.view, { ...COLD, reason: `${reason}: it is started anew` })
  })

  test('tells nothing of its answer once another is prepared, or none for good', async () => {
    const { b, workload } = await taken()
    b.problem = '/health_check: 500'
    const answer = workload.answers()
    await b.clock.pass(THAW_MS / 2)
    await b.started()
    await b.clock.pass(THAW_MS)
    assert.ok(await answer)
    assert.deepEqual([b.standby.view.mode, b.standby.view.state], ['frozen', 'preparing'])
    const other = await taken()
    other.b.problem = '/health_check: 500'
    const last = other.workload.answers()
    await other.b.standby.discard()
    const told = other.b.views.length
    await other.b.clock.pass(THAW_MS)
    assert.ok(await last)
    assert.equal(other.b.views.length, told)
  })
})

describe('a discard', () => {
  /** Whatever happens afterwards. */
  async function assertSilent(b: Bench, told: number): Promise<void> {
    await b.standby.settled()
    const asked = b.asked.length
    await b.clock.pass(PATIENCE_MS)
    assert.equal(b.asked.length, asked)
    for (const { pids } of b.trees) assert.deepEqual(pids, [])
    assert.deepEqual(b.standby.view, COLD)
    assert.equal(b.views.length, told)
  }

  const stages: [string, (b: Bench) => Promise<unknown>][] = [
    ['before anything is prepared', async () => {}],
    ['while LangFlow is not healthy yet', (b) => b.started()],
    ['while it comes to rest', (b) => b.started().then(() => b.clock.pass(QUIET_MS / 2))],
    ['when it is frozen', (b) => b.ready()],
  ]
  for (const [stage, reach] of stages) {
    test(`${stage} leaves nothing alive and tells nothing more`, async () => {
      const b = new Bench()
      if (stage.includes('healthy')) b.problem = '/health_check: ECONNREFUSED'
      await reach(b)
      const told = b.views.length
      const waiting = b.standby.settled()
      await b.standby.discard()
      for (const { pids } of b.trees) assert.deepEqual(pids, [])
      await waiting
      await assertSilent(b, told)
    })
  }

  test('before LangFlow is started starts nothing', async () => {
    const b = new Bench()
    const look = gate()
    b.looking = look.promise
    await b.started()
    await b.standby.discard()
    look.open()
    await assertSilent(b, 1)
    assert.equal(b.trees.length, 0)
  })

  test('while LangFlow is being started waits for that, and then ends it', async () => {
    const b = new Bench()
    const birth = gate()
    b.arrange = (tree) => {
      tree.starting = birth.promise
    }
    await b.started()
    const settling = b.standby.settled()
    const discarded = b.standby.discard()
    assert.equal(await isOver(Promise.race([discarded, settling, b.standby.settled()])), false)
    birth.open()
    await discarded
    assert.deepEqual(b.tree.pids, [])
    await settling
    await assertSilent(b, 1)
  })

  test('while LangFlow is being started is all that there is to tell, also where it cannot be', async () => {
    const b = new Bench()
    const birth = gate()
    b.arrange = (tree) => {
      tree.starting = birth.promise.then(() => Promise.reject(new Error('no such command in PATH')))
    }
    await b.started()
    const discarded = b.standby.discard()
    birth.open()
    await discarded
    await assertSilent(b, 1)
  })

  test('ends the looks at what was frozen: none of them freezes what is prepared next', async () => {
    const b = await new Bench().ready()
    await b.clock.pass(LOOK_MS - 1)
    await b.standby.discard()
    b.problem = '/health_check: ECONNREFUSED'
    await b.started()
    await b.clock.pass(LOOK_MS)
    assert.deepEqual([b.tree.calls, b.trees.length], [['start langflow run'], 2])
  })

  test('of one that fails just then is no failure, and resolves only once nothing of it lives', async () => {
    const b = await new Bench().started()
    const death = gate()
    b.tree.dying = death.promise
    b.tree.end({ code: 1, signal: null })
    const told = b.views.length
    const discarded = b.standby.discard()
    assert.equal(await isOver(Promise.race([discarded, b.standby.settled()])), false)
    death.open()
    await discarded
    await assertSilent(b, told)
  })

  test('that is followed by a new one while the old one still dies lets that wait', async () => {
    const b = await new Bench().ready()
    const death = gate()
    b.tree.dying = death.promise
    const discarded = b.standby.discard()
    b.standby.prepare()
    await settled()
    assert.equal(b.trees.length, 1)
    assert.deepEqual(b.states().at(-1), 'frozen preparing')
    death.open()
    await discarded
    await b.ready()
    assert.equal(b.trees.length, 2)
    assert.equal(b.standby.view.state, 'ready')
  })

  test('of one that waits for an old one to die resolves once that is dead', async () => {
    const b = await new Bench().ready()
    const death = gate()
    b.tree.dying = death.promise
    const first = b.standby.discard()
    b.standby.prepare()
    const second = b.standby.discard()
    assert.equal(await isOver(Promise.race([first, second, b.standby.settled()])), false)
    death.open()
    await Promise.all([first, second])
    await assertSilent(b, b.views.length)
    assert.equal(b.trees.length, 1)
  })

  test('by a failure is followed by a new one in the same way, and the failure is not told of that', async () => {
    const b = await new Bench().ready()
    const death = gate()
    b.tree.dying = death.promise
    b.tree.end(KILLED)
    b.standby.prepare()
    await settled()
    assert.equal(b.trees.length, 1)
    death.open()
    await settled()
    await b.clock.pass(QUIET_MS)
    assert.equal(b.standby.view.state, 'ready')
    assert.ok(!b.states().includes('cold none'))
  })
})
