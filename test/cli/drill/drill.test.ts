import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { prepare } from '../../../agent/cli/drill/drill.ts'
import { OperationError } from '../../../agent/cli/exit-codes.ts'
import { LAST_DRILL, PAUSED, SWITCHOVER_TO } from '../../../agent/lease/operator-annotations.ts'
import { LEADER, STANDBY } from '../scripted-cluster.ts'
import { Drilling, type Options, ScriptedStage } from './scripted-stage.ts'

/** The prober has had a good answer. */
const AFTER_THE_FAULT_MS = 1_500
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

const resultOf = ({ report }: Drilling) => report!
const lastOf = ({ stage }: Drilling) => stage.cluster.annotations[LAST_DRILL]?.split(' ')[1]

describe('a drill', () => {
  test('of a switchover passes if users are served again in time and no message is lost', async () => {
    const drilling = await begun()
    const { stage } = drilling
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

  test('reads no pod for a switchover, because the Role of the monthly drill does not permit it', async () => {
    const stage = new ScriptedStage()
    stage.objects.get = () => Promise.reject(AWAY)
    const drilling = await begun(stage)
    await takenOver(drilling)
    assert.equal(drilling.report?.result, 'ok')
  })

  test('misses its limits if acknowledged messages are lost', async () => {
    const drilling = await begun()
    drilling.stage.stored.delete(2)
    drilling.stage.stored.delete(5)
    await takenOver(drilling)
    const { result, measured } = drilling.report!
    assert.deepEqual([result, measured.lost], ['missed', 2])
  })

  test('measures no RPO without a flow', async () => {
    const stage = new ScriptedStage()
    stage.service = { ...stage.service, messages: null }
    const drilling = await begun(stage)
    await takenOver(drilling)
    const { result, measured } = drilling.report!
    assert.deepEqual([result, measured.lost], ['ok', null])
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
    const { result, wellAgainMs } = resultOf(drilling)
    assert.equal(result, 'ok')
    assert.ok(wellAgainMs >= 10_000)
  })

  test('fails if the leader refuses', async () => {
    const drilling = await begun()
    const { cluster } = drilling.stage
    await drilling.step(10_000, () => {
      cluster.note({ [SWITCHOVER_TO]: null })
      cluster.show('langflow-0', { ...LEADER, switchover: REFUSED })
    })
    assert.equal((drilling.error as OperationError).code, 'refused')
    assert.equal(lastOf(drilling), 'failed')
  })

  test('fails if the leader does not hand over in time, and withdraws the request', async () => {
    const drilling = await begun()
    await drilling.step(70_000)
    assert.equal((drilling.error as OperationError).code, 'timed_out')
    assert.equal(drilling.stage.cluster.annotations[SWITCHOVER_TO], undefined)
    assert.equal(lastOf(drilling), 'failed')
  })

  test('fails if the replicas do not recover in time', async () => {
    const drilling = await begun(undefined, { scenario: 'delete-pod' })
    await drilling.step(70_000)
    assert.match(drilling.error?.message ?? '', /did not recover in time: langflow-0 still leads$/)
    assert.equal(lastOf(drilling), 'failed')
  })

  test('fails if LangFlow does not show the messages after the takeover', async () => {
    const drilling = await begun()
    drilling.stage.service.messages!.kept = () =>
      Promise.reject(new OperationError('not_served', 'LangFlow answers 500'))
    await takenOver(drilling)
    const { code, message } = drilling.error as OperationError
    assert.deepEqual([code, message, lastOf(drilling)], ['failed', 'LangFlow answers 500', 'failed'])
  })
})

describe('a drill is refused', () => {
  test('while takeovers are paused', async () => {
    const stage = new ScriptedStage()
    stage.cluster.note({ [PAUSED]: 'true' })
    await assert.rejects(prepare(stage, 1), { code: 'paused', exitCode: 3 })
  })

  test('if the leader does not serve yet', async () => {
    const stage = new ScriptedStage()
    stage.cluster.show('langflow-0', { ...LEADER, traffic: { ...LEADER.traffic, gate: 'closed' } })
    await assert.rejects(prepare(stage, 1), { code: 'not_ready', exitCode: 3 })
  })

  test('if users are not served before it, and counts as failed', async () => {
    const stage = new ScriptedStage()
    stage.problem = 'connection refused'
    const drilling = await begun(stage)
    await drilling.step(30_000)
    const { exitCode, message } = drilling.error as OperationError
    assert.equal(exitCode, 3)
    assert.match(message, /POST \/run\/echo: connection refused$/)
    assert.deepEqual(Object.keys(stage.cluster.annotations), [LAST_DRILL])
    assert.equal(lastOf(drilling), 'failed')
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
