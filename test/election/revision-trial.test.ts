import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CandidateConfig, Failure, Workload } from '../../agent/election/state.ts'
import { type Lease, successorOf } from '../../agent/lease/lease.ts'
import { encodeHistory, HISTORY } from '../../agent/lease/lease-history.ts'
import {
  type FailedRevision,
  NO_REVISIONS,
  REVISIONS,
  type Revisions,
  revisionsOf,
} from '../../agent/lease/proven-revisions.ts'
import { TERM } from '../observe/replica.ts'
import { Candidate, heldBy, noted, released } from './candidate.ts'

const NEW: Partial<CandidateConfig> = { revision: 'new' }
const OLD: Partial<CandidateConfig> = { revision: 'old' }
const OLD_SERVED: Revisions = { proven: ['old'], langflow: null, failed: [] }
const REASON = 'LangFlow ended by itself (exit code 1)'
const FAILED: FailedRevision = { revision: 'new', inputs: 'a1', because: 'workload_exited', reason: REASON }
const NEW_FAILED: Revisions = { ...OLD_SERVED, failed: [FAILED] }
const BOTH_FAILED: Revisions = { ...OLD_SERVED, failed: [{ ...FAILED, inputs: 'b2' }, FAILED] }
const THIRD_FAILED: Revisions = { ...OLD_SERVED, failed: [{ ...FAILED, revision: 'third' }, FAILED] }
const EXITED: Failure = { code: 'workload_exited', reason: REASON, remedy: 'handover' }
const RUNS: Partial<Workload> = { alive: 'yes', canRun: false, epoch: 4, identity: 'me' }
const GONE: Partial<Workload> = { alive: 'no', canRun: true }

function saying(lease: Lease, revisions: Revisions, startMs?: number): Lease {
  const phases = { ...TERM.phases, startMs: 1_000, healthyMs: (startMs ?? 0) - 1_000 }
  const history = startMs === undefined ? {} : { [HISTORY]: encodeHistory([{ ...TERM, phases }]) }
  return noted(lease, { [REVISIONS]: JSON.stringify(revisions), ...history })
}

/** A leader whose LangFlow is starting. The Lease contained `revisions`. @param startMs how long the last start took */
function leader(
  config: Partial<CandidateConfig>,
  revisions: Revisions | null,
  { startMs, ...workload }: Partial<Workload> & { startMs?: number } = {},
): Candidate {
  const lease = released(50)
  const c = Candidate.follower(config).workload({ inputs: 'a1', ...workload })
  c.sees(revisions === null ? lease : saying(lease, revisions, startMs))
  while (c.state.pending === null) c.wait(500)
  return c.acknowledge().workload(RUNS).forget()
}

/** The leader renews for `ms`. */
function renewing(c: Candidate, ms: number): Candidate {
  for (const until = c.mono + ms; c.mono < until; ) {
    c.pass(Math.min(500, until - c.mono))
    if (c.state.pending !== null) c.acknowledge()
  }
  return c
}

/** Milliseconds until the leader gives up a first start that never becomes healthy. */
function givenUpAfter(c: Candidate): number {
  const began = c.mono
  while (c.state.phase === 'leading' && c.mono - began < 700_000) renewing(c, 500)
  return c.mono - began
}

const writes = (c: Candidate): Revisions => revisionsOf(c.write.lease)
const serves = (c: Candidate): Candidate =>
  c.workload({ well: true }).tell({ type: 'workload_healthy', took: { startMs: 10, healthyMs: 20 } })

describe('a leader records its revision as proven', () => {
  for (const [what, before, after] of [
    ['as the only one in a first installation', null, ['new']],
    ['before the revisions that served earlier', OLD_SERVED, ['new', 'old']],
    ['as the latest one if it had served before', { ...OLD_SERVED, proven: ['old', 'new'] }, ['new', 'old']],
    ['although it had failed before', NEW_FAILED, ['new', 'old']],
  ] as const)
    test(`in the first renewal while LangFlow serves, ${what}`, () => {
      const c = leader(NEW, before)
      c.pass(2_000)
      assert.deepEqual(writes(c), before ?? NO_REVISIONS)
      serves(c.acknowledge()).pass(2_000)
      assert.deepEqual(writes(c), { proven: after, langflow: null, failed: [] })
      // The next renewal leaves the annotation as it is.
      const said = c.write.lease
      c.acknowledge().pass(2_000)
      assert.equal(c.write.lease.metadata.annotations?.[REVISIONS], said.metadata.annotations?.[REVISIONS])
    })

  test('unless the revision is unknown', () => {
    assert.deepEqual(writes(serves(leader({ revision: null }, null)).pass(2_000)), NO_REVISIONS)
  })

  test('again after a person removed the annotation', () => {
    const c = serves(leader(NEW, OLD_SERVED)).pass(2_000).acknowledge()
    const { [REVISIONS]: _, ...annotations } = c.state.noted.annotations
    const lease = c.state.seen?.lease as Lease
    c.sees({ ...lease, metadata: { ...lease.metadata, resourceVersion: '900', annotations } })
    assert.deepEqual(writes(c.pass(2_000)), { ...OLD_SERVED, proven: ['new'] })
  })

  test('with the version of its LangFlow, and again when that version changes', () => {
    const c = serves(leader(NEW, OLD_SERVED, { langflow: '1.13.0' }).workload({ langflow: '1.13.0' })).pass(
      2_000,
    )
    assert.equal(writes(c).langflow, '1.13.0')
    c.acknowledge().workload({ langflow: '1.13.1' }).pass(2_000)
    assert.deepEqual(writes(c), { proven: ['new', 'old'], langflow: '1.13.1', failed: [] })
  })
})

describe('the first start of an unproven revision', () => {
  for (const [what, more, config, ms] of [
    ['60 s if the standby is warm', { startMs: 100_000 }, { standby: 'warm' }, 60_000],
    ['three times the longest earlier start if the standby is cold', { startMs: 40_000 }, {}, 120_000],
    ['at least 60 s, since the earlier starts may have been warm', { startMs: 2_000 }, {}, 60_000],
    [
      'at least 60 s if the warm standby is not prepared',
      { startMs: 2_000, prepared: false },
      { standby: 'warm' },
      60_000,
    ],
    ['the start timeout if the history contains no earlier start', {}, {}, 600_000],
    ['no longer than the start timeout', { startMs: 40_000 }, { startTimeoutMs: 20_000 }, 20_000],
  ] as const)
    test(`may take ${what}`, () => {
      assert.equal(givenUpAfter(leader({ ...NEW, ...config }, OLD_SERVED, more)), ms)
    })

  test('has no limit of its own if the revision is proven, the first one, or unknown', () => {
    for (const [config, revisions] of [
      [OLD, OLD_SERVED],
      [NEW, null],
      [{ revision: null }, OLD_SERVED],
    ] as const)
      assert.equal(givenUpAfter(leader(config, revisions)), 700_000)
  })

  test('may take the start timeout if no other revision has taken the Lease since its failure, or if it upgrades LangFlow', () => {
    const again = leader(NEW, NEW_FAILED, { startMs: 2_000 })
    assert.equal(renewing(again, 700_000).state.phase, 'leading')
    const upgrade = { langflow: '1.14.0' }
    const upgraded = leader(NEW, { ...OLD_SERVED, langflow: '1.13.0' }, { ...upgrade, startMs: 2_000 })
    const lease = upgraded.state.seen?.lease as Lease
    const restarted = Candidate.follower(NEW)
    restarted
      .workload({ ...RUNS, ...upgrade, killAt: restarted.mono + 12_000 })
      .sees(lease)
      .acknowledge()
    const second = Candidate.follower({ ...NEW, identity: 'second' }).workload(upgrade)
    second.sees(lease).wait(20_000)
    second.acknowledge().workload({ ...RUNS, identity: 'second', epoch: 5 })
    for (const c of [upgraded, restarted, second]) assert.equal(renewing(c, 700_000).state.phase, 'leading')
    // Its failure still counts against the revision, and the replica is not Ready before LangFlow serves.
    for (const c of [again, upgraded, restarted, second]) {
      assert.notEqual(c.state.term?.trialUntil, null)
      c.tell({ type: 'workload_failed', ...EXITED })
      assert.equal(c.state.term?.stepDown?.code, 'revision_failed')
    }
  })

  test('counts against the revision also if an operator’s failover shortens the stop after the failure', () => {
    const c = leader(NEW, OLD_SERVED, { startMs: 2_000 })
    c.tell({ type: 'workload_failed', ...EXITED })
    const blames = c.state.term?.stepDown?.blames
    assert.ok(blames)
    const { metadata, ...more } = noted(c.state.seen?.lease as Lease, { 'langflow-leader/failover-to': '*' })
    c.sees({ ...more, metadata: { ...metadata, resourceVersion: `${metadata.resourceVersion}0` } })
    const { code, blames: after } = c.state.term?.stepDown ?? {}
    assert.deepEqual([code, after], ['failover', blames])
  })

  test('ends when LangFlow serves: a later failure does not count against the revision', () => {
    const c = serves(leader(NEW, OLD_SERVED, { startMs: 2_000 }))
    assert.equal(renewing(c, 120_000).state.phase, 'leading')
    c.tell({ type: 'workload_failed', ...EXITED })
    assert.deepEqual(
      [c.state.term?.stepDown?.code, c.state.term?.stepDown?.blames],
      ['workload_exited', null],
    )
  })

  test('ends the term in order if it fails, and the release records the failed revision', () => {
    const c = leader(NEW, OLD_SERVED).tell({
      type: 'successor',
      identity: 'of-the-same-revision',
      content: 'none',
    })
    c.tell({ type: 'workload_failed', ...EXITED }).workload({ ...GONE, well: false })
    const reason = `the first start of revision new failed: ${REASON}`
    assert.deepEqual([c.write.kind, writes(c)], ['release', NEW_FAILED])
    assert.equal(
      successorOf(c.write.lease),
      null,
      'the release names no successor, since the best prepared replica may have the same revision',
    )
    c.acknowledge()
    for (const event of ['draining', 'released', 'stepped_down'])
      assert.ok(
        c.all.some(
          (one) =>
            one.type === 'event' &&
            one.event === event &&
            one.code === 'revision_failed' &&
            one.reason === reason,
        ),
        event,
      )
  })

  test('is recorded as failed by a renewal before the release if it takes too long', () => {
    const c = leader(NEW, OLD_SERVED, { startMs: 2_000 })
    givenUpAfter(c)
    c.pass(2_000)
    const [failed] = writes(c).failed
    assert.deepEqual([failed?.revision, failed?.because], ['new', 'start_timeout'])
    assert.equal(failed?.reason, 'LangFlow was not healthy 60 s after its replica took the Lease')
  })

  for (const code of ['deadman', 'launcher_silent'] as const)
    test(`does not count against the revision if it ends with "${code}"`, () => {
      const c = leader(NEW, OLD_SERVED).tell({ type: 'workload_failed', ...EXITED, code })
      assert.deepEqual([c.state.term?.stepDown?.code, c.state.term?.stepDown?.blames], [code, null])
      assert.deepEqual(writes(c.workload(GONE)), OLD_SERVED)
    })

  test('does not count against the revision if the pod ends', () => {
    const c = leader(NEW, OLD_SERVED).tell({ type: 'terminate', reason: 'SIGTERM' }).workload(GONE)
    assert.deepEqual(writes(c), OLD_SERVED)
  })

  test('has no limit while the Lease is paused, and is given up after the pause', () => {
    const c = leader(NEW, OLD_SERVED, { startMs: 2_000 })
    const edit = (version: string, paused: string) => {
      const lease = c.state.seen?.lease as Lease
      const annotations = { ...lease.metadata.annotations, 'langflow-leader/paused': paused }
      c.sees({ ...lease, metadata: { ...lease.metadata, resourceVersion: version, annotations } })
    }
    edit('900', 'true')
    assert.equal(renewing(c, 120_000).state.phase, 'leading')
    edit('9000', 'false')
    assert.equal(c.state.term?.stepDown?.code, 'revision_failed')
  })
})

describe('a free Lease', () => {
  const follower = (config: Partial<CandidateConfig>, revisions: Revisions, more: Partial<Workload> = {}) =>
    Candidate.follower(config)
      .workload({ inputs: 'a1', ...more })
      .sees(saying(heldBy('leader', 10), revisions))
  const rows: [string, number, Partial<CandidateConfig>, Revisions, Partial<Workload>?][] = [
    ['immediately by a revision that has served', 0, OLD, NEW_FAILED],
    ['half a retry period later by a revision that has not served', 1_000, NEW, OLD_SERVED],
    [
      'a retry period later by an unprepared replica of an unproven revision',
      2_000,
      NEW,
      OLD_SERVED,
      { prepared: false },
    ],
    ['a lease duration later by a revision whose first start failed', 15_000, NEW, NEW_FAILED],
    [
      'a lease duration later by an unprepared replica of a failed revision',
      15_000,
      NEW,
      NEW_FAILED,
      { prepared: false },
    ],
    [
      'a lease duration later by a failed revision whose inputs are unknown',
      15_000,
      NEW,
      NEW_FAILED,
      { inputs: null },
    ],
    [
      'half a retry period later by a failed revision whose inputs have changed since',
      1_000,
      NEW,
      NEW_FAILED,
      { inputs: 'b2' },
    ],
    [
      'a lease duration later by a revision that failed with both inputs, now with the earlier ones',
      15_000,
      NEW,
      BOTH_FAILED,
    ],
    [
      'a lease duration later by a revision that failed with both inputs, now with the later ones',
      15_000,
      NEW,
      BOTH_FAILED,
      { inputs: 'b2' },
    ],
    [
      'a lease duration later by a failed revision, although another revision failed since',
      15_000,
      NEW,
      THIRD_FAILED,
    ],
    ['immediately by a replica whose revision is unknown', 0, { revision: null }, NEW_FAILED],
    ['immediately by the first revision of an installation', 0, NEW, { ...NEW_FAILED, proven: [] }],
  ]
  for (const [what, ms, config, revisions, workload] of rows) {
    test(`is taken ${what}`, () => {
      const c = follower(config, revisions, workload).sees(saying(released(11, 'leader'), revisions))
      c.takesAfter(ms)
    })
    test(`is taken ${what}, also after it expired`, () => {
      follower(config, revisions, workload).takesAfter(15_000 + ms)
    })
  }

  test('is taken immediately by a named successor with an unproven revision', () => {
    const lease = saying(released(11, 'leader'), OLD_SERVED)
    const annotations = { ...lease.metadata.annotations, 'langflow-leader/successor': 'me' }
    follower(NEW, OLD_SERVED)
      .sees({ ...lease, metadata: { ...lease.metadata, annotations } })
      .takesAfter(0)
  })

  test('is taken again by the failed revision if no other replica takes it for a lease duration', () => {
    const c = leader(NEW, OLD_SERVED)
      .tell({ type: 'workload_failed', ...EXITED })
      .workload(GONE)
      .acknowledge()
    c.takesAfter(15_000)
  })
})
