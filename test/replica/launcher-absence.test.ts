import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { LauncherAbsence } from '../../agent/replica/launcher-absence.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

class Bench {
  readonly clock = new VirtualClock()
  changes = 0
  asked = 0
  readonly absence: LauncherAbsence

  constructor(version: string | null | Error) {
    this.absence = new LauncherAbsence({
      clock: this.clock,
      socket: '/run/langflow-leader/launcher.sock',
      serverVersion: async () => {
        this.asked++
        if (version instanceof Error) throw version
        return version
      },
      changed: () => void this.changes++,
    })
    this.absence.start()
  }

  async pass(ms: number): Promise<void> {
    await this.clock.pass(ms)
    await settled()
  }
}

describe('an agent to which no launcher comes', () => {
  test('says after a minute what the LangFlow container lacks', async () => {
    const b = new Bench('1.37')
    await b.pass(59_999)
    assert.deepEqual([b.absence.problem, b.asked], [null, 0])
    await b.pass(1)
    assert.equal(
      b.absence.problem,
      'no launcher has connected within 60 s: LangFlow’s container must start LangFlow by "langflow-leader launch --", ' +
        'and mount the volume that is /run/langflow-leader here at the same place',
    )
    assert.equal(b.changes, 1)
  })

  for (const [what, versions, sentence] of [
    ['that the cluster is too old for native sidecars', ['1.28', '1.21'], /version 1\.2[18]: without native/],
    [
      'the former where the version cannot be told, or is newer',
      [null, new Error('forbidden'), '1.29', '2.1', 'x.y'],
      /within 60 s/,
    ],
  ] as const) {
    test(`says ${what}`, async () => {
      for (const version of versions) {
        const b = new Bench(version)
        await b.pass(60_000)
        assert.match(b.absence.problem ?? '', sentence)
      }
    })
  }

  test('says nothing once one has come, before or after', async () => {
    const early = new Bench('1.37')
    early.absence.came()
    await early.pass(60_000)
    assert.deepEqual([early.absence.problem, early.asked], [null, 0])
    const late = new Bench('1.37')
    await late.pass(60_000)
    late.absence.came()
    assert.deepEqual([late.absence.problem, late.changes], [null, 2])
  })
})
