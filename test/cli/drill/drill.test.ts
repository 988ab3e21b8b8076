import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OperationError } from '../../../agent/cli/exit-codes.ts'
import { LAST_DRILL, PAUSED, SWITCHOVER_TO } from '../../../agent/lease/operator-annotations.ts'
import { LEADER, STANDBY } from '../scripted-cluster.ts'
import { Drilling, type Options, ScriptedStage } from './scripted-stage.ts'

/** The prober has had a good answer. */
const AFTER_THE_FAULT_MS = 1_500
const CLOSED = { ...LEADER, traffic: { ...LEADER.traffic, gate: 'closed' } } as const
const AWAY = new OperationError('unreachable', 'no connection')
const REFUSED = { what: 'switchover', to: '*', state: 'refused', reason: 'langflow-1 is not ready' } as const

async function begun(stage = new ScriptedStage(), options: Options = {}) {
  const drilling = new Drilling(stage, options)
  await drilling.step(AFTER_THE_FAULT_MS)
  return drilling
}

/** Lets another replica acquire the Lease, and serve a second later. */
async function takenOver(drilling: Drilling): Promise<void> {
  const { stage } = drilling
  await drilling.step(1_000, () => {
    stage.acquire('langflow-1', 8)
    stage.problem = 'status 503'
  })
  await drilling.step(10_000, () => {
    stage.serve('langflow-1', 8)
    stage.problem = null
  })
}

const lastOf = ({ stage }: Drilling) => stage.cluster.annotations[LAST_DRILL]?.split(' ')[1]

describe('a drill', () => {
  test('of a switchover passes if users are served again in time and no message is lost', async () => {
    const stage = new ScriptedStage()
    // The Role of the monthly drill does not permit to read a pod.
    stage.objects.get = () => Promise.reject(AWAY)
    const drilling = await begun(stage)
    assert.equal(stage.cluster.annotations[SWITCHOVER_TO], '*')
    await takenOver(drilling)
    const { result, problem, from, to, measured } = drilling.report!
    assert.deepEqual([result, problem, from, to], ['ok', null, 'langflow-0', 'langflow-1'])
    assert.deepEqual([measured.failed, measured.rtoMs, measured.lost], [5, 1_200, 0])
    assert.deepEqual([lastOf(drilling), stage.forgotten], ['ok', 1])
    assert.equal(stage.clock.next(), Number.POSITIVE_INFINITY)
  })

  for (const [scenario, graceSeconds] of [
    ['delete-pod', undefined],
    ['force-delete-pod', 0],
  ] as const)
    test(`of ${scenario} deletes the leader's pod`, async () => {
      const drilling = await begun(undefined, { scenario })
      await takenOver(drilling)
      assert.deepEqual(drilling.stage.deleted, [['langflow-0', graceSeconds]])
      assert.deepEqual([drilling.report?.result, drilling.report?.to], ['ok', 'langflow-1'])
    })

  test('misses its limits if acknowledged messages are lost, and measures no RPO without a flow', async () => {
    for (const [flow, result, lost] of [
      [true, 'missed', 2],
      [false, 'ok', null],
    ] as const) {
      const stage = new ScriptedStage()
      if (!flow) stage.service = { ...stage.service, messages: null }
      const drilling = await begun(stage)
      stage.stored.delete(2)
      stage.stored.delete(5)
      await takenOver(drilling)
      assert.deepEqual([drilling.report?.result, drilling.report?.measured.lost], [result, lost])
    }
  })

  test('waits until a standby is ready again, even if the API server is away for a while', async () => {
    const drilling = await begun()
    const { stage } = drilling
    await drilling.step(5_000, () => {
      stage.acquire('langflow-1', 8)
      stage.serve('langflow-1', 8)
      stage.cluster.show('langflow-0', { ...STANDBY, couldTakeOver: false })
    })
    await drilling.step(5_000, () => {
      stage.cluster.away = AWAY
    })
    assert.equal(drilling.report, undefined)
    await drilling.step(5_000, () => {
      stage.cluster.away = null
      stage.cluster.show('langflow-0', STANDBY)
    })
    assert.equal(drilling.report!.result, 'ok')
    assert.ok(drilling.report!.wellAgainMs >= 10_000)
  })

  const refuse = ({ cluster }: ScriptedStage) => {
    cluster.note({ [SWITCHOVER_TO]: null })
    cluster.show('langflow-0', { ...LEADER, switchover: REFUSED })
  }
  const hideMessages = (stage: ScriptedStage) => {
    stage.acquire('langflow-1', 8)
    stage.serve('langflow-1', 8)
    stage.service.messages!.kept = () => Promise.reject(new OperationError('not_served', 'status 500'))
  }
  const failures: [when: string, options: Options, happens: (stage: ScriptedStage) => void, code: string][] =
    [
      ['the leader does not hand over in time', {}, () => {}, 'timed_out'],
      ['the replicas do not recover in time', { scenario: 'delete-pod' }, () => {}, 'failed'],
      ['the leader refuses', {}, refuse, 'refused'],
      ['LangFlow does not show the messages after the takeover', {}, hideMessages, 'failed'],
    ]
  for (const [when, options, happens, code] of failures)
    test(`fails if ${when}`, async () => {
      const drilling = await begun(undefined, options)
      await drilling.step(70_000, () => happens(drilling.stage))
      assert.deepEqual([(drilling.error as OperationError).code, lastOf(drilling)], [code, 'failed'])
      assert.equal(drilling.stage.cluster.annotations[SWITCHOVER_TO], undefined)
    })

  const refusals: [when: string, change: (stage: ScriptedStage) => void, code: string][] = [
    ['takeovers are paused', ({ cluster }) => cluster.note({ [PAUSED]: 'true' }), 'paused'],
    ['the leader does not serve yet', ({ cluster }) => cluster.show('langflow-0', CLOSED), 'not_ready'],
    ['users are not served before it', (stage) => void Object.assign(stage, { problem: 'x' }), 'not_served'],
  ]
  for (const [when, change, code] of refusals)
    test(`is refused if ${when}, and counts as failed`, async () => {
      const stage = new ScriptedStage()
      change(stage)
      const drilling = await begun(stage)
      await drilling.step(30_000)
      const error = drilling.error as OperationError
      assert.deepEqual([error.code, error.exitCode, lastOf(drilling)], [code, 3, 'failed'])
      assert.equal(stage.cluster.annotations[SWITCHOVER_TO], undefined)
    })
})

describe('Ctrl-C', () => {
  test('before the fault leaves no change', async () => {
    const stage = new ScriptedStage()
    stage.problem = 'status 503'
    const drilling = new Drilling(stage)
    const { ctrlC } = drilling
    await drilling.step(1_000)
    await drilling.step(100, () => ctrlC.abort())
    assert.equal((drilling.error as OperationError).exitCode, 130)
    assert.deepEqual([stage.cluster.annotations, stage.forgotten], [{}, 1])
    assert.equal(stage.clock.next(), Number.POSITIVE_INFINITY)
  })

  test('after the fault withdraws the request and deletes the messages, and the drill counts as failed', async () => {
    const drilling = await begun()
    const { stage, ctrlC } = drilling
    await drilling.step(100, () => ctrlC.abort())
    assert.equal((drilling.error as OperationError).exitCode, 130)
    assert.deepEqual([Object.keys(stage.cluster.annotations), stage.forgotten], [[LAST_DRILL], 1])
    assert.equal(stage.clock.next(), Number.POSITIVE_INFINITY)
  })
})
