import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ApiError } from '../../../agent/kube/errors.ts'
import type { KubeObject, KubeObjects } from '../../../agent/kube/objects.ts'
import { DRILL, LAST_DRILL, lastDrillOf } from '../../../agent/lease/operation.ts'
import { noteRefusal } from '../../../agent/operate/drill/refusal.ts'
import { OperationError } from '../../../agent/operate/exit-codes.ts'
import { ScriptedStage } from './scripted-stage.ts'

const OPTIONS = { scenarios: ['switchover'], perSecond: 5, limits: { rtoMs: 30_000, rpoRows: 0 } } as const
const PAUSED = new OperationError('paused', 'paused until somebody resumes')

/** One ConfigMap. */
class Kept implements Pick<KubeObjects, 'get' | 'update'> {
  data: Record<string, string> | undefined
  get = async (): Promise<KubeObject> => ({ metadata: { name: 'drills', uid: 'u', resourceVersion: '1' } })
  update = async (...[, object]: Parameters<KubeObjects['update']>): Promise<KubeObject> => {
    this.data = object.data as Record<string, string>
    return object as KubeObject
  }
}

async function noted(error: unknown, stage = new ScriptedStage()) {
  const kept = new Kept()
  const told = await noteRefusal(stage, kept, OPTIONS, 'drills', error)
  return { stage, kept, told, last: lastDrillOf(await stage.cluster.lease()) }
}

describe('a routine drill that is refused', () => {
  test('is a drill that failed, in the Lease and as a short report', async () => {
    const { stage, kept, told, last } = await noted(PAUSED)
    assert.deepEqual(told, [])
    const at = new Date(stage.clock.now().wall).toISOString()
    assert.deepEqual(last, { at, result: 'failed' })
    const [json = '', text = ''] = Object.entries(kept.data ?? {})
      .sort()
      .map(([, one]) => one)
    const { began, result, scenarios, skipped, notes } = JSON.parse(json)
    assert.deepEqual([began, result, scenarios, skipped], [at, 'failed', [], ['switchover']])
    assert.deepEqual(notes, ['Nothing was done: paused until somebody resumes.'])
    assert.ok(text.includes('\n- Nothing was done: paused until somebody resumes.\n'))
  })

  test('is none beside another drill, which tells its own end', async () => {
    const stage = new ScriptedStage()
    stage.cluster.note({ [DRILL]: '2999-01-01T00:00:00.000Z aabbccdd' })
    assert.equal((await noted(PAUSED, stage)).last, null)
  })

  for (const code of ['interrupted', 'declined', 'drill'] as const)
    test(`is none where it ends as ${code}`, async () => {
      const { kept, last } = await noted(new OperationError(code, 'no'))
      assert.deepEqual([kept.data, last], [undefined, null])
    })

  test('is none where it is a defect', async () => {
    assert.equal((await noted(new TypeError('no'))).last, null)
  })

  test('says what it may not write, and writes the rest', async () => {
    const stage = new ScriptedStage()
    stage.cluster.arriving = () => new ApiError('forbidden', 'may not "patch"', { status: 403 })
    const { kept, told } = await noted(PAUSED, stage)
    assert.deepEqual(told, ['the refusal is not kept: may not "patch"'])
    assert.equal(Object.keys(kept.data ?? {}).length, 2)
    assert.equal(stage.cluster.annotations[LAST_DRILL], undefined)
  })
})
