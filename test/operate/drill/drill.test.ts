import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ApiError } from '../../../agent/kube/errors.ts'
import {
  DRILL,
  LAST_DRILL,
  lastDrillOf,
  PAUSED,
  PAUSED_UNTIL,
  SWITCHOVER_TO,
} from '../../../agent/lease/operation.ts'
import type { FrontView } from '../../../agent/observe/status.ts'
import { prepare } from '../../../agent/operate/drill/drill.ts'
import type { ScenarioName } from '../../../agent/operate/drill/settings.ts'
import { asOperationError, OperationError } from '../../../agent/operate/exit-codes.ts'
import { fronted } from '../../observe/replica.ts'
import { LEADER, STANDBY } from '../scripted-cluster.ts'
import { Drilling, ScriptedStage } from './scripted-stage.ts'

const AFTER_THE_FAULT_MS = 4_000
const AWAY = new OperationError('unreachable', 'no connection')
const LOST = new ApiError('timeout', 'no answer', { mayHaveCommitted: true })
const REFUSED = { to: '*', state: 'refused', reason: 'langflow-1 is not ready' } as const

/** Up to the moment at which the request stands in the Lease, 3 s after the first request of the prober. */
async function asked(stage = new ScriptedStage(), options: Parameters<Drilling['begin']>[0] = {}) {
  const drilling = await new Drilling(stage).begin(options)
  await drilling.step(AFTER_THE_FAULT_MS)
  return drilling
}

/** The switchover that was asked for happens, and all is well again. */
async function switched(drilling: Drilling, epoch = 8, pod = 'langflow-1'): Promise<void> {
  const { stage } = drilling
  await drilling.step(1_000, () => {
    stage.acquire(pod, epoch)
    stage.problem = 'status 503'
  })
  await drilling.step(10_000, () => {
    stage.serve(pod, epoch)
    stage.problem = null
  })
}

describe('a drill of a switchover', () => {
  test('passes where users were served again in time, and nothing that was stored is missing', async () => {
    const stage = new ScriptedStage()
    const drilling = await asked(stage)
    assert.equal(stage.cluster.annotations[SWITCHOVER_TO], '*')
    assert.match(stage.cluster.annotations[DRILL] ?? '', /^\S+Z \w+$/)
    await switched(drilling)
    const { report, probes } = drilling.drilled!
    const [played] = report.scenarios
    assert.equal(report.result, 'ok')
    assert.deepEqual([report.skipped, report.limits], [[], { rtoMs: 30_000, rpoRows: 0 }])
    assert.deepEqual(
      [played?.from, played?.to, played?.epochBefore, played?.epochAfter],
      ['langflow-0', 'langflow-1', 7, 8],
    )
    assert.deepEqual([played?.measured.failed, played?.measured.rtoMs, played?.rpoRows], [5, 1_200, 0])
    assert.ok(probes.length > 30)
    assert.deepEqual(
      played?.moments.map(({ what }) => what),
      [
        'asked langflow-0 to hand over to whoever is prepared best',
        'langflow-1 holds the Lease in term 8, and starts LangFlow',
        'langflow-1 serves in term 8',
        'as many replicas as before could take over again',
      ],
    )
  })

  test('with fronts tells what they held and ended, and misses its limits where a request failed all the same', async () => {
    const stage = new ScriptedStage()
    const front = (more: Partial<FrontView>) =>
      stage.cluster.showFrom('langflow-2', (status) => fronted(status, more))
    front({ streamsEnded: 3 })
    const drilling = await asked(stage)
    await drilling.step(1_000, () => {
      stage.acquire('langflow-1', 8)
      front({ streamsEnded: 5, held: 4, oldestHeldMs: 700 })
    })
    await drilling.step(10_000, () => {
      stage.serve('langflow-1', 8)
      front({ streamsEnded: 6 })
    })
    const { report } = drilling.drilled!
    assert.deepEqual(report.scenarios[0]?.fronts, { held: { requests: 4, longestMs: 700 }, streamsEnded: 3 })
    assert.equal(report.result, 'ok')

    const failing = new ScriptedStage()
    failing.cluster.showFrom('langflow-0', (status) => fronted(status))
    const other = await asked(failing)
    await switched(other)
    const [played] = other.drilled!.report.scenarios
    assert.deepEqual(
      [played?.result, played?.problem],
      ['missed', '5 requests failed, and in a planned takeover the fronts hold each'],
    )
  })

  test('looks at no pod, which the Role of the monthly drill does not allow', async () => {
    const stage = new ScriptedStage()
    stage.hands.pod = () => Promise.reject(new OperationError('no_rights', 'may not "get" pods'))
    const drilling = await asked(stage)
    await switched(drilling)
    assert.equal(drilling.drilled?.report.result, 'ok')
  })

  test('is told to others while it lasts, and its end to those who come later', async () => {
    const drilling = await asked()
    await switched(drilling)
    const { annotations } = drilling.stage.cluster
    assert.equal(annotations[DRILL], undefined)
    const lease = await drilling.stage.cluster.lease()
    assert.deepEqual(lastDrillOf(lease)?.result, 'ok')
    assert.equal(drilling.stage.forgotten, 1)
  })

  test('misses its limits where users waited longer', async () => {
    const drilling = await asked(undefined, { limits: { rtoMs: 1_000, rpoRows: 0 } })
    await switched(drilling)
    const { report } = drilling.drilled!
    assert.equal(report.result, 'missed')
    assert.equal(report.scenarios[0]?.problem, 'nobody was served for 1.2 s, which is longer than 1.0 s')
    assert.match(drilling.stage.cluster.annotations[LAST_DRILL] ?? '', / missed$/)
  })

  test('misses its limits where rows are lost that were acknowledged', async () => {
    const drilling = await asked()
    drilling.stage.stored.delete(2)
    drilling.stage.stored.delete(5)
    await switched(drilling)
    const [played] = drilling.drilled!.report.scenarios
    assert.deepEqual([played?.result, played?.rpoRows], ['missed', 2])
    assert.equal(played?.problem, '2 rows that had been acknowledged are missing')
  })

  test('fails where the leader takes the request out of the Lease', async () => {
    const drilling = await asked()
    const { cluster } = drilling.stage
    await drilling.step(10_000, () => {
      cluster.note({ [SWITCHOVER_TO]: null })
      cluster.show('langflow-0', { ...LEADER, switchover: REFUSED })
    })
    const { report } = drilling.drilled!
    assert.equal(report.result, 'failed')
    assert.equal(report.scenarios[0]?.problem, 'langflow-0 refused to hand over: langflow-1 is not ready')
    assert.deepEqual(
      report.notes.filter((note) => note.includes('taken back')),
      [],
    )
  })

  test('fails where the replicas are not as well as before in time, and takes the request back', async () => {
    const drilling = await asked()
    await drilling.step(70_000)
    const { report } = drilling.drilled!
    assert.equal(report.result, 'failed')
    assert.match(
      report.scenarios[0]?.problem ?? '',
      /^not well again within 60\.0 s: a switchover .* was asked for/,
    )
    assert.equal(drilling.stage.cluster.annotations[SWITCHOVER_TO], undefined)
    assert.ok(report.notes.includes('The switchover that was asked for is taken back.'))
  })

  test('fails where users get no answer any more', async () => {
    const drilling = await asked()
    await drilling.step(10_000, () => {
      drilling.stage.acquire('langflow-1', 8)
      drilling.stage.serve('langflow-1', 8)
      drilling.stage.problem = 'connection refused'
    })
    assert.equal(drilling.drilled?.report.scenarios[0]?.problem, 'no good answer came any more')
  })

  test('waits for a standby to be ready again, also through an API server that is away', async () => {
    const drilling = await asked()
    const { stage } = drilling
    await drilling.step(5_000, () => {
      stage.acquire('langflow-1', 8)
      stage.serve('langflow-1', 8)
      stage.cluster.show('langflow-0', {
        ...STANDBY,
        couldTakeOver: false,
        unable: 'its standby is not prepared',
      })
    })
    await drilling.step(5_000, () => {
      stage.cluster.away = AWAY
    })
    assert.equal(drilling.drilled, undefined)
    await drilling.step(5_000, () => {
      stage.cluster.away = null
      stage.cluster.show('langflow-0', STANDBY)
    })
    const [played] = drilling.drilled!.report.scenarios
    assert.equal(played?.result, 'ok')
    assert.ok((played?.wellAgainMs ?? 0) >= 10_000)
  })

  /** The API server is away once all is well again, before the Lease tells how it came about. */
  async function awayAtLast(options: Parameters<Drilling['begin']>[0] = {}) {
    const drilling = await asked(undefined, options)
    const { stage } = drilling
    await drilling.step(1_500, () => {
      stage.acquire('langflow-1', 8)
      stage.serve('langflow-1', 8)
    })
    await drilling.step(5_000, () => {
      stage.cluster.away = AWAY
    })
    assert.deepEqual([drilling.drilled, drilling.error], [undefined, undefined])
    return drilling
  }

  test('is not lost with an API server that is away for a moment at the end', async () => {
    const drilling = await awayAtLast()
    await drilling.step(5_000, () => {
      drilling.stage.cluster.away = null
    })
    const [played] = drilling.drilled!.report.scenarios
    assert.deepEqual([played?.result, played?.to, played?.epochAfter], ['ok', 'langflow-1', 8])
    assert.match(drilling.stage.cluster.annotations[LAST_DRILL] ?? '', / ok$/)
  })

  test('fails with a report where the Lease cannot be read any more, and was played nevertheless', async () => {
    const drilling = await awayAtLast({ scenarios: ['switchover', 'delete-pod'] })
    await drilling.step(60_000)
    const { report } = drilling.drilled!
    const [played] = report.scenarios
    assert.deepEqual([report.result, report.skipped, played?.to], ['failed', ['delete-pod'], null])
    assert.equal(played?.problem, 'what came of it cannot be read any more: no connection')
    assert.equal(played?.measured.failed, 0)
  })

  test('goes on watching where it may have been asked for although no answer came', async () => {
    const stage = new ScriptedStage()
    // The first write is the mark of the drill.
    stage.cluster.arriving = (attempt) => (attempt === 1 ? null : LOST)
    const drilling = await asked(stage)
    await switched(drilling)
    const [played] = drilling.drilled!.report.scenarios
    assert.equal(played?.result, 'ok')
    assert.match(
      played?.did ?? '',
      /; whether it was told is not known: no answer, 2 times in a row: it may have been written/,
    )
  })

  test('measures no RPO without a flow, and says so', async () => {
    const stage = new ScriptedStage()
    stage.service = { ...stage.service, rows: null }
    const drilling = await asked(stage)
    await switched(drilling)
    const { report } = drilling.drilled!
    assert.deepEqual([report.result, report.limits.rpoRows, report.scenarios[0]?.rpoRows], ['ok', null, null])
    assert.match(report.notes[0] ?? '', /^No RPO is measured/)
  })

  test('does without telling others where it may not write the Lease', async () => {
    const stage = new ScriptedStage()
    const forbidden = new ApiError('forbidden', 'user "eve" may not "patch" the Lease', { status: 403 })
    stage.cluster.arriving = () => forbidden
    const drilling = await new Drilling(stage).begin({ scenarios: ['delete-pod'] })
    await drilling.step(AFTER_THE_FAULT_MS)
    await switched(drilling)
    assert.equal(drilling.drilled?.report.result, 'ok')
    const told = drilling.drilled?.report.notes.filter((note) => note.includes('may not "patch"'))
    assert.deepEqual(told, ['The Lease does not tell of this drill: user "eve" may not "patch" the Lease.'])
  })
})

describe('nothing is done', () => {
  const refusals: [when: string, change: (stage: ScriptedStage) => void, code: string][] = [
    ['while it is paused', ({ cluster }) => cluster.note({ [PAUSED]: 'true' }), 'paused'],
    [
      'while a switchover is asked for',
      ({ cluster }) => cluster.note({ [SWITCHOVER_TO]: '*' }),
      'switchover',
    ],
    [
      'while another drill is under way',
      ({ cluster }) => cluster.note({ [DRILL]: '2999-01-01T00:00:00.000Z aabbccdd' }),
      'drill',
    ],
    [
      'where nobody could take over',
      ({ cluster }) => {
        for (const pod of ['langflow-1', 'langflow-2'])
          cluster.show(pod, { ...STANDBY, couldTakeOver: false })
      },
      'not_ready',
    ],
    ['where nobody leads', ({ cluster }) => cluster.write({ holderIdentity: '' }), 'nobody_leads'],
    [
      'where the leader does not serve yet',
      ({ cluster }) =>
        cluster.show('langflow-0', { ...LEADER, traffic: { ...LEADER.traffic, gate: 'closed' } }),
      'nobody_leads',
    ],
  ]
  for (const [when, change, code] of refusals)
    test(when, async () => {
      const stage = new ScriptedStage()
      change(stage)
      await assert.rejects(prepare(stage, ['switchover']), (error: OperationError) => {
        assert.deepEqual([error.code, error.exitCode], [code, 3])
        return true
      })
      assert.deepEqual(stage.cluster.written, [])
    })

  test('while a replica takes it to be paused, whatever the clock says here', async () => {
    const stage = new ScriptedStage()
    const until = '2001-01-01T00:00:00.000Z'
    stage.cluster.note({ [PAUSED]: 'true', [PAUSED_UNTIL]: until })
    stage.cluster.show('langflow-1', { ...STANDBY, pause: undefined })
    await prepare(stage, ['switchover'])
    stage.cluster.show('langflow-0', { ...LEADER, pause: { until, reason: 'upgrade' } })
    await assert.rejects(prepare(stage, ['switchover']), {
      code: 'paused',
      message: /^paused until 2001-\S+ \(upgrade\), by the clock of langflow-0: resume first/,
    })
  })

  test('beside a drill that ended without a word, once its time is over', async () => {
    const stage = new ScriptedStage()
    stage.cluster.note({ [DRILL]: '2001-01-01T00:00:00.000Z aabbccdd' })
    await assert.doesNotReject(prepare(stage, ['switchover']))
  })

  const unserved: [when: string, change: (stage: ScriptedStage) => void, told: RegExp][] = [
    [
      'where users are not served',
      (stage) => {
        stage.problem = 'connection refused'
      },
      /^users are not served before the drill: POST \/run\/echo: connection refused$/,
    ],
    [
      'where the flow stores nothing',
      (stage) => {
        stage.stores = false
      },
      /answers and stores no message: give --flow one with a Chat Input/,
    ],
    [
      'where what is stored cannot be read',
      ({ service }) => {
        service.rows!.kept = () => Promise.reject(new Error('LangFlow answers 403'))
      },
      /^what is stored cannot be read, so that no RPO is measured: LangFlow answers 403$/,
    ],
  ]
  for (const [when, change, told] of unserved)
    test(when, async () => {
      const stage = new ScriptedStage()
      change(stage)
      const drilling = await asked(stage)
      await drilling.step(10_000)
      assert.match(drilling.error?.message ?? '', told)
      assert.equal((drilling.error as OperationError).exitCode, 3)
      assert.deepEqual(stage.cluster.written, [])
      assert.equal(stage.forgotten, 1)
    })

  test('where two begin at once: one of them is told', async () => {
    const stage = new ScriptedStage()
    const one = await new Drilling(stage).begin()
    const other = await new Drilling(stage).begin()
    await one.step(1_000)
    const errors = [one.error, other.error].filter((error) => error !== undefined)
    assert.equal(errors.length, 1)
    assert.match(errors[0]?.message ?? '', /^another drill is under way/)
    await one.step(120_000)
  })

  test('where somebody else asks for the same a moment before: that request stays', async () => {
    const stage = new ScriptedStage()
    stage.cluster.arriving = (attempt) => {
      if (attempt === 2) stage.cluster.note({ [SWITCHOVER_TO]: '*' })
    }
    const drilling = await asked(stage)
    assert.equal((drilling.error as OperationError).code, 'switchover')
    assert.deepEqual(stage.cluster.annotations, { [SWITCHOVER_TO]: '*' })
  })

  test('where it is paused at the last moment: the mark is taken back', async () => {
    const drilling = await new Drilling(new ScriptedStage()).begin()
    await drilling.step(1_000)
    await drilling.step(10_000, () => drilling.stage.cluster.note({ [PAUSED]: 'true' }))
    assert.equal((drilling.error as OperationError).code, 'paused')
    assert.deepEqual(drilling.stage.cluster.annotations, { [PAUSED]: 'true' })
  })
})

describe('Ctrl-C', () => {
  const moments: [when: string, interrupt: (drilling: Drilling) => void][] = [
    ['before the first request', ({ ctrlC }) => ctrlC.abort()],
    [
      'while the first request is under way',
      ({ stage, ctrlC }) => {
        const ended = Promise.withResolvers<string>()
        stage.service.ask = () => ended.promise
        stage.clock.after(100, () => ctrlC.abort())
        stage.clock.after(200, () => ended.resolve('status 503'))
      },
    ],
    [
      'while the mark is written',
      ({ stage, ctrlC }) => {
        stage.cluster.arriving = () => ctrlC.abort()
      },
    ],
    ['before the fault', ({ stage, ctrlC }) => void stage.clock.after(1_000, () => ctrlC.abort())],
  ]
  for (const [when, interrupt] of moments)
    test(`${when} leaves neither a mark nor a timer that would keep the process`, async () => {
      const drilling = new Drilling(new ScriptedStage())
      interrupt(drilling)
      await drilling.begin()
      await drilling.step(1_500)
      assert.equal((drilling.error as OperationError).exitCode, 130)
      assert.deepEqual(drilling.stage.cluster.annotations, {})
      assert.equal(drilling.stage.clock.next(), Number.POSITIVE_INFINITY)
    })

  test('before the fault says that nothing was done', async () => {
    const drilling = await new Drilling(new ScriptedStage()).begin()
    await drilling.step(1_000)
    await drilling.step(1_000, () => drilling.ctrlC.abort())
    assert.equal(
      drilling.error?.message,
      'interrupted: nothing was done; the messages of the drill are deleted',
    )
    assert.equal(drilling.stage.forgotten, 1)
  })

  test('after the fault leaves a report, and takes the request, the mark and the messages back', async () => {
    const drilling = await asked(undefined, { scenarios: ['switchover', 'delete-pod'] })
    const { stage, ctrlC } = drilling
    await drilling.step(1_000)
    await drilling.step(0, () => ctrlC.abort())
    const { report } = drilling.drilled!
    const [played] = report.scenarios
    assert.deepEqual([report.result, report.skipped], ['interrupted', ['delete-pod']])
    assert.deepEqual(
      [played?.result, played?.problem, played?.wellAgainMs, played?.rpoRows],
      ['interrupted', 'it was ended before all was measured', null, null],
    )
    assert.match(played?.did ?? '', /^asked langflow-0 to hand over/)
    assert.deepEqual(report.notes.slice(0, 2), [
      'The switchover that was asked for is taken back.',
      'The messages of the drill are deleted.',
    ])
    assert.deepEqual(Object.keys(stage.cluster.annotations), [LAST_DRILL])
    assert.equal(lastDrillOf(await stage.cluster.lease())?.result, 'failed')
    assert.equal(stage.clock.next(), Number.POSITIVE_INFINITY)
  })

  test('says what cannot be taken back', async () => {
    const drilling = await asked(undefined, { scenarios: ['delete-pod'] })
    await drilling.step(0, () => drilling.ctrlC.abort())
    assert.ok(drilling.drilled?.report.notes.includes('What was done to the replicas mends by itself.'))
  })

  test('between two scenarios leaves a report of the first', async () => {
    const drilling = await asked(undefined, { scenarios: ['switchover', 'delete-pod'] })
    const { stage, ctrlC } = drilling
    await drilling.step(1_000, () => {
      stage.acquire('langflow-1', 8)
      stage.serve('langflow-1', 8)
    })
    // Users are watched for 3 s after all is well, and for 3 s before the next fault.
    await drilling.step(4_000)
    await drilling.step(0, () => ctrlC.abort())
    const { report } = drilling.drilled!
    assert.deepEqual(
      report.scenarios.map(({ scenario, result }) => [scenario, result]),
      [['switchover', 'ok']],
    )
    assert.deepEqual([report.result, report.skipped, stage.deleted], ['interrupted', ['delete-pod'], []])
  })

  test('while the API server is away waits for nobody', async () => {
    const drilling = await asked()
    drilling.stage.cluster.away = AWAY
    await drilling.step(0, () => drilling.ctrlC.abort())
    assert.equal(drilling.drilled?.report.result, 'interrupted')
  })
})

describe('the crashes', () => {
  const played = async (name: ScenarioName, happens: (stage: ScriptedStage) => void) => {
    const drilling = await asked(undefined, { scenarios: [name] })
    await drilling.step(10_000, () => happens(drilling.stage))
    return drilling
  }

  test("kill LangFlow's worker by the node beside its launcher, and see the next term", async () => {
    const { stage, drilled } = await played('crash-langflow', (stage) => {
      stage.acquire('langflow-2', 8)
      stage.serve('langflow-2', 8)
    })
    assert.deepEqual(stage.executed, [
      'langflow-0 langflow /opt/langflow-leader/node --version',
      'langflow-0 langflow /opt/langflow-leader/node --eval',
    ])
    const [one] = drilled!.report.scenarios
    assert.deepEqual([one?.result, one?.to], ['ok', 'langflow-2'])
    assert.equal(one?.did, "killed LangFlow's worker in langflow-0 (pid 7, SIGKILL)")
  })

  test('see a LangFlow that is restarted in place', async () => {
    const { drilled } = await played('crash-langflow', ({ cluster }) =>
      cluster.show('langflow-0', { ...LEADER, workload: { ...LEADER.workload, orderedAt: 1e9 } }),
    )
    const [one] = drilled!.report.scenarios
    assert.deepEqual([one?.result, one?.to, one?.epochAfter], ['ok', 'langflow-0', 7])
  })

  test('kill the agent by the node of its image, and see it start again in the same term', async () => {
    const { stage, drilled } = await played('crash-agent', (stage) => {
      stage.restarts = 1
    })
    assert.equal(stage.executed.at(-1), 'langflow-0 agent /usr/lib/langflow-leader/node --eval')
    assert.deepEqual([drilled!.report.result, drilled!.report.scenarios[0]?.epochAfter], ['ok', 7])
  })

  test('fail where nothing came of them', async () => {
    const drilling = await asked(undefined, { scenarios: ['crash-agent'] })
    await drilling.step(70_000)
    assert.equal(
      drilling.drilled?.report.scenarios[0]?.problem,
      'not well again within 60.0 s: it had no effect',
    )
  })

  test('delete the pod that leads, and no other', async () => {
    const { stage } = await played('delete-pod', (stage) => {
      stage.acquire('langflow-1', 8)
      stage.serve('langflow-1', 8)
    })
    assert.deepEqual(stage.deleted, ['langflow-0'])
  })

  test('are watched as well where no answer tells whether they were carried out', async () => {
    const stage = new ScriptedStage()
    const { remove } = stage.hands
    stage.hands.remove = async (pod, rehearsal) => {
      await remove(pod, rehearsal)
      if (!rehearsal) throw asOperationError(LOST)
    }
    const drilling = await asked(stage, { scenarios: ['delete-pod'] })
    await switched(drilling)
    const [one] = drilling.drilled!.report.scenarios
    assert.equal(one?.result, 'ok')
    assert.match(one?.did ?? '', /does; whether it was done is not known: no answer$/)
  })

  test('are refused before anything is done where the API server runs no commands', async () => {
    const stage = new ScriptedStage()
    stage.execution = new OperationError('impossible', 'this API server runs no commands in pods')
    await assert.rejects(prepare(stage, ['switchover', 'crash-agent']), { code: 'impossible', exitCode: 3 })
    assert.deepEqual(stage.cluster.written, [])
  })
})

describe('several scenarios', () => {
  const two: readonly ScenarioName[] = ['switchover', 'delete-pod']

  test('are played one after the other', async () => {
    const drilling = await asked(undefined, { scenarios: two })
    await switched(drilling)
    assert.deepEqual(drilling.stage.deleted, ['langflow-1'])
    await switched(drilling, 9, 'langflow-0')
    const { report } = drilling.drilled!
    assert.deepEqual(
      report.scenarios.map(({ scenario, from, to }) => [scenario, from, to]),
      [
        ['switchover', 'langflow-0', 'langflow-1'],
        ['delete-pod', 'langflow-1', 'langflow-0'],
      ],
    )
    assert.equal(report.result, 'ok')
  })

  test('are not played after one that failed', async () => {
    const drilling = await asked(undefined, { scenarios: two })
    const { cluster, deleted } = drilling.stage
    await drilling.step(20_000, () => {
      cluster.note({ [SWITCHOVER_TO]: null })
      cluster.show('langflow-0', { ...LEADER, switchover: REFUSED })
    })
    assert.deepEqual(drilling.drilled?.report.skipped, ['delete-pod'])
    assert.deepEqual(deleted, [])
  })

  test('end with a report where somebody pauses in between', async () => {
    const drilling = await asked(undefined, { scenarios: two })
    const { stage } = drilling
    await drilling.step(4_500, () => {
      stage.acquire('langflow-1', 8)
      stage.serve('langflow-1', 8)
    })
    await drilling.step(10_000, () => stage.cluster.note({ [PAUSED]: 'true' }))
    const { report } = drilling.drilled!
    assert.deepEqual([report.result, report.skipped, stage.deleted], ['failed', ['delete-pod'], []])
    assert.ok(
      report.notes.some((note) => note.startsWith('The drill ended early: paused until somebody resumes')),
    )
  })
})
