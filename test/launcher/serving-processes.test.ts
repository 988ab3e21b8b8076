import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { closeSync, copyFileSync, existsSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { CUT_OFF } from '../../agent/launcher/langflow-command.ts'
import { ServingProcesses } from '../../agent/launcher/serving-processes.ts'
import { isDead, readStat } from '../../agent/processes/proc.ts'
import { createProcessTree } from '../../agent/processes/process-tree.ts'
import { freePort } from '../harness/free-port.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { until } from '../processes/fixtures/family.ts'
import { noPython } from './fixtures/write-files.ts'

const TREE = join(import.meta.dirname, 'fixtures', 'served-tree.mjs')
const FORKED = join(import.meta.dirname, 'fixtures', 'forked-tree.py')
const NEVER_MS = '3600000'

interface Served {
  readonly worker: number
  readonly master: number
  readonly parent: number
}

/** A real workload. The clock for the search of its serving processes is virtual. */
async function serve(command: (port: number) => readonly string[]) {
  const port = await freePort()
  const marker = { name: 'LANGFLOW_LEADER_TREE', value: randomUUID() }
  const tree = createProcessTree({ marker, clock: systemClock, alone: false })
  const { pid: child } = await tree.start(command(port), process.env, () => {})
  const clock = new VirtualClock()
  const notes: string[] = []
  const serving = new ServingProcesses({ port, child, clock, log: { info: (text) => void notes.push(text) } })
  return {
    tree,
    child,
    clock,
    notes,
    serving,
    /** The processes behind the first successful response on a new connection. */
    async ask(): Promise<Served> {
      for (;;) {
        const asked = fetch(`http://127.0.0.1:${port}`, { headers: { connection: 'close' } })
        const answer = await asked.catch(() => undefined)
        if (answer !== undefined) return (await answer.json()) as Served
      }
    },
    /** Asks until `count` different workers have answered. */
    async workers(count: number): Promise<Served[]> {
      const seen = new Map<number, Served>()
      while (seen.size < count) {
        const one = await this.ask()
        seen.set(one.worker, one)
      }
      return [...seen.values()]
    },
    /** Advances the clock to the next search. */
    async search(): Promise<void> {
      await clock.pass(10_000)
      assert.equal(serving.check(), null)
    },
    [Symbol.asyncDispose]: async () => void (await tree.kill(20_000)),
  }
}

const treeOf =
  (...options: string[]) =>
  (port: number) => [process.execPath, TREE, String(port), ...options]

async function end(pid: number, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  process.kill(pid, signal)
  await until(`process ${pid} has ended`, () => {
    const stat = readStat(pid)
    return stat === undefined || isDead(stat)
  })
}

test('the loss of the only worker is reported once, even if its replacement does not accept yet', async () => {
  await using served = await serve(treeOf('1', NEVER_MS))
  const { worker, master } = await served.ask()
  await served.search()
  assert.deepEqual(served.notes, [`LangFlow is served by pid ${worker}`])
  await end(worker)
  await until('the master has another worker', () =>
    served.tree.alive().some(({ pid }) => pid !== worker && readStat(pid)?.ppid === master),
  )
  assert.deepEqual(served.serving.check(), { role: 'worker', pids: [worker] })
  await served.search()
})

test('the loss of the master is reported, although its worker still serves', async () => {
  await using served = await serve(treeOf())
  const { worker, master } = await served.ask()
  await served.search()
  await end(master)
  assert.equal((await served.ask()).worker, worker)
  assert.deepEqual(served.serving.check(), { role: 'master', pids: [master] })
  await served.search()
})

test('the end of one of several workers is no loss; the end of the last one is', async () => {
  await using served = await serve(treeOf('2', NEVER_MS))
  const [first, second] = (await served.workers(2)) as [Served, Served]
  await served.search()
  await end(first.worker)
  assert.equal(served.serving.check(), null)
  await end(second.worker)
  assert.deepEqual(served.serving.check(), { role: 'worker', pids: [second.worker] })
})

test('the end of a worker that has been replaced is no loss', async () => {
  await using served = await serve(treeOf('2', '0'))
  const before = await served.workers(2)
  await served.search()
  await end(before[0]!.worker, 'SIGTERM')
  assert.equal(served.serving.check(), null)
  await served.workers(2)
  await end(before[1]!.worker, 'SIGTERM')
  assert.equal(served.serving.check(), null)
})

test('a loss is reported only once /proc can be read again', async (t) => {
  const open = () => openSync('/dev/null', 'r')
  const limited = spawnSync('prlimit', [`--pid=${process.pid}`, '--nofile=256:'])
  if (limited.status !== 0) return t.skip('prlimit, which limits open files, is not installed')
  await using served = await serve(treeOf('1', NEVER_MS))
  const { worker } = await served.ask()
  await served.search()
  await end(worker)
  const files: number[] = []
  assert.throws(() => {
    for (;;) files.push(open())
  }, /EMFILE/)
  const blind = served.serving.check()
  for (const file of files) closeSync(file)
  assert.equal(blind, null)
  await served.clock.pass(1_000)
  assert.deepEqual(served.serving.check(), { role: 'worker', pids: [worker] })
})

test('the end of a workload of one process, which listens on all addresses, is no loss', async () => {
  await using served = await serve((port) => [
    process.execPath,
    '-e',
    `require('http').createServer((_, r) => r.end('{}')).listen(${port})`,
  ])
  await served.ask()
  await served.search()
  assert.deepEqual(served.notes, [`LangFlow is served by pid ${served.child}`])
  await end(served.child)
  assert.equal(served.serving.check(), null)
})

test('a helper that a worker has forked does not count as a worker', { skip: noPython }, async () => {
  await using served = await serve((port) => ['python3', FORKED, 'run', String(port), '/dev/null', 'helped'])
  const living = () => served.tree.alive().map(({ pid }) => pid)
  const pythons = () => served.tree.alive().filter(({ comm }) => comm === 'python3')
  await until('the helper runs', () => pythons().length === 4)
  const childOf = (parent: number) => living().find((pid) => readStat(pid)?.ppid === parent) as number
  const master = childOf(served.child)
  const worker = childOf(master)
  const helper = childOf(worker)
  await served.search()
  assert.match(served.notes.join(), new RegExp(`served by pid ${worker}$`))
  await end(worker)
  assert.ok(living().includes(helper))
  assert.deepEqual(served.serving.check(), { role: 'worker', pids: [worker] })
})

describe('a workload that is stopping', { skip: noPython }, () => {
  /** A workload that serves. `program` is the file name of its script. */
  async function serves(t: TestContext, program: string, wrap = (command: string[]) => command) {
    const dir = temporaryDirectory()
    const file = join(dir, 'written')
    const script = join(dir, program)
    copyFileSync(FORKED, script)
    const served = await serve((port) => wrap(['python3', script, 'run', String(port), file]))
    t.after(() => served[Symbol.asyncDispose]())
    await until('LangFlow serves', () => {
      void served.clock.pass(1_000)
      served.serving.check()
      return served.notes.some((note) => note.startsWith('LangFlow is served'))
    })
    return { ...served, file }
  }

  async function ending(...args: Parameters<typeof serves>) {
    const served = await serves(...args)
    served.serving.finish()
    assert.ok(served.tree.alive().length >= 3, 'a process was ended although it still serves')
    served.tree.terminate()
    await until('the worker has written', () => {
      served.serving.finish()
      return existsSync(served.file)
    })
    return served
  }

  test('ends completely once its worker has written its file and ended', async (t) => {
    const { tree, serving } = await ending(t, 'langflow')
    await until('no process is alive', () => {
      serving.finish()
      return tree.alive().length === 0
    })
  })

  test('keeps its other processes if it is not LangFlow', async (t) => {
    const { tree, serving } = await ending(t, 'another')
    await until('the worker has ended', () => tree.alive().length === 2)
    serving.finish()
    assert.equal(tree.alive().length, 2)
  })

  test('gets the cut-off order only in its workers, and only if they run the cut-off script', async (t) => {
    for (const [script, cutsOff] of [
      [CUT_OFF, true],
      ['', false],
    ] as const) {
      const { tree, serving } = await serves(t, 'langflow', (command) => [...command, script])
      const before = tree.alive().length
      assert.equal(serving.cutOff(), cutsOff)
      if (cutsOff) await until('the worker has ended', () => tree.alive().length < before)
      assert.equal(tree.alive().length, cutsOff ? before - 1 : before)
    }
  })
})
