import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isGone, killAll } from '../../agent/launcher/killing.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { FakeTree } from '../workload/fixtures/fake-tree.ts'

const TAKEN = 'port 7860 is already taken by "langflow" (pid 42)'

class Bench {
  readonly clock = new VirtualClock()
  readonly tree = new FakeTree()
  holder: string | null = null
  looks = 0
  /** `undefined`: not yet. */
  left: string | null | undefined

  constructor() {
    this.tree.running = true
  }

  begin(tree: FakeTree | null = this.tree): void {
    const holder = async () => {
      this.looks++
      return this.holder
    }
    void killAll(tree, { clock: this.clock, holder }).then((left) => {
      this.left = left
    })
  }
}

describe('a kill', () => {
  test('is over at once where all of it dies and the port is free', async () => {
    const b = new Bench()
    b.begin()
    await b.clock.pass(0)
    assert.deepEqual([b.left, b.tree.calls, b.looks], [null, ['kill'], 1])
  })

  test('waits for the kernel to close the sockets of what it killed', async () => {
    const b = new Bench()
    b.holder = TAKEN
    b.begin()
    await b.clock.pass(25)
    assert.equal(b.left, undefined)
    b.holder = null
    await b.clock.pass(10)
    assert.deepEqual([b.left, b.looks], [null, 4])
  })

  test('says after three seconds who still holds the port', async () => {
    const b = new Bench()
    b.holder = TAKEN
    b.begin()
    await b.clock.pass(2_999)
    assert.equal(b.left, undefined)
    await b.clock.pass(1)
    assert.equal(b.left, TAKEN)
  })

  test('names what it did not end, and five at most', async () => {
    const b = new Bench()
    b.tree.kill = async () =>
      [1, 2, 3, 4, 5, 6].map((pid) => ({ pid, startTime: '1', state: 'D', comm: 'python' }))
    b.begin()
    await b.clock.pass(0)
    assert.match(b.left ?? '', /^SIGKILL did not end python \(pid 1, state D\), .*python \(pid 5, state D\)$/)
    assert.equal(b.looks, 0)
  })

  test('has not succeeded where it cannot be told what lives', async () => {
    const b = new Bench()
    b.tree.kill = async () => {
      throw new Error('/proc cannot be read')
    }
    b.begin()
    await b.clock.pass(0)
    assert.equal(b.left, '/proc cannot be read')
  })

  test('of nothing still waits for the port', async () => {
    const b = new Bench()
    b.holder = TAKEN
    b.begin(null)
    await b.clock.pass(0)
    assert.equal(b.left, undefined)
    b.holder = null
    await b.clock.pass(10)
    assert.equal(b.left, null)
  })
})

describe('a tree', () => {
  test('is gone without a live process, and not where that cannot be told', () => {
    const tree = new FakeTree()
    assert.ok(isGone(null))
    assert.ok(isGone(tree))
    tree.running = true
    assert.ok(!isGone(tree))
    tree.alive = () => {
      throw new Error('/proc cannot be read')
    }
    assert.ok(!isGone(tree))
  })
})
