import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { LabelRoute } from '../../agent/traffic/label-route.ts'
import { RoutedTraffic } from '../../agent/traffic/routed-traffic.ts'
import type { Known } from '../../agent/traffic/traffic.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'
import { NOBODY } from './nobody.ts'
import { forbidden, StoredObjects, unanswered } from './stored-objects.ts'

const ROLE = 'langflow-leader/role'
const LEASE = 'langflow-leader/lease'
const EPOCH = 'langflow-leader/epoch'
const COST = 'controller.kubernetes.io/pod-deletion-cost'

/** Pods of one namespace, and the agents that label them. */
class Namespace {
  readonly clock = new VirtualClock()
  readonly api = new StoredObjects()

  /** A pod, and the traffic of its agent. */
  agent(name: string, { leaseName = 'lock', uid = `uid-of-${name}`, look = () => {} } = {}): RoutedTraffic {
    if (!this.api.objects.has(name)) this.api.put(name)
    const { api, clock } = this
    const route = new LabelRoute({
      api,
      pod: { name, uid },
      leaseName,
      leads: (wanted) => this.leads(name, wanted),
      clock,
    })
    return new RoutedTraffic({ route, clock, listener: { ...NOBODY, look } })
  }

  /** Which agent holds the Lease that exists now; what it leads in is the truth. */
  holder: string | undefined
  lease = 'u1'
  asked = 0

  private async leads(name: string, { leaseUid }: Known): Promise<boolean> {
    this.asked++
    return name === this.holder && leaseUid === this.lease
  }

  role(name: string): string | undefined {
    return this.api.labels(name)[ROLE]
  }

  /** A pod that a leader of `epoch` left labelled. */
  stale(name: string, epoch: number, leaseName = 'lock'): void {
    const labels = { app: 'langflow', [ROLE]: 'leader', [LEASE]: leaseName }
    this.api.put(name, { metadata: { labels, annotations: { [EPOCH]: String(epoch), [COST]: '1000' } } })
  }
}

describe('the label mode', () => {
  it('labels a leader’s pod with its role, its Lease and its epoch, and makes it the last to be scaled away', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a')
    traffic.want({ gate: 'open', epoch: 7 })
    await traffic.settled()
    assert.deepEqual(scene.api.labels('a'), { [ROLE]: 'leader', [LEASE]: 'lock' })
    assert.equal(scene.api.annotations('a')[EPOCH], '7')
    assert.equal(scene.api.annotations('a')[COST], '1000')
    assert.deepEqual(traffic.view, { routedTo: 'a', problem: null })
  })

  it('takes all of it back when the gate closes', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a')
    traffic.want({ gate: 'open', epoch: 7 })
    await traffic.settled()
    traffic.want({ gate: 'closed', epoch: null })
    await traffic.settled()
    assert.deepEqual(scene.api.labels('a'), { [ROLE]: 'standby', [LEASE]: 'lock' })
    assert.deepEqual(Object.keys(scene.api.annotations('a')), ['langflow-leader/changed-at'])
    assert.equal(traffic.view.routedTo, '')
  })

  it('changes nothing of a leader’s pod after a restart of its agent, and asks nothing before that is known', async () => {
    const scene = new Namespace()
    const before = scene.agent('a')
    before.want({ gate: 'open', epoch: 7 })
    await before.settled()
    before.close()
    const { resourceVersion } = scene.api.objects.get('a')!.metadata
    scene.api.calls.length = 0

    const after = scene.agent('a')
    after.want({ gate: 'unknown' })
    await scene.clock.pass(60_000)
    assert.deepEqual(scene.api.calls, [])
    after.want({ gate: 'open', epoch: 7 })
    await after.settled()
    assert.deepEqual(scene.api.calls, ['list', 'get a'])
    assert.equal(scene.api.objects.get('a')!.metadata.resourceVersion, resourceVersion)
  })

  it('relabels what former leaders left as soon as a term begins, before LangFlow is healthy', async () => {
    const scene = new Namespace()
    scene.stale('gone', 6)
    scene.stale('older', 3)
    const traffic = scene.agent('a')
    traffic.want({ gate: 'closed', epoch: 7 })
    await traffic.settled()
    assert.deepEqual(
      [scene.role('gone'), scene.role('older'), scene.role('a')],
      ['standby', 'standby', 'standby'],
    )
    assert.equal(scene.api.labels('gone').app, 'langflow')
    assert.equal(scene.api.annotations('gone')[COST], undefined)
  })

  it('is never labelled as the leader beside a former one', async () => {
    const scene = new Namespace()
    scene.stale('gone', 6)
    const traffic = scene.agent('a')
    traffic.want({ gate: 'open', epoch: 7 })
    await traffic.settled()
    assert.deepEqual(scene.api.writes, ['patch gone', 'patch a'])
  })

  it('leaves another LangFlow’s leader in the same namespace alone', async () => {
    const scene = new Namespace()
    const [ours, theirs] = [scene.agent('a'), scene.agent('b', { leaseName: 'other' })]
    theirs.want({ gate: 'open', epoch: 2 })
    await theirs.settled()
    ours.want({ gate: 'open', epoch: 7 })
    await ours.settled()
    assert.deepEqual([scene.role('a'), scene.role('b')], ['leader', 'leader'])
  })

  it('tells LangFlows apart by Leases whose names are longer than a label', async () => {
    const scene = new Namespace()
    const long = 'l'.repeat(200)
    const [ours, theirs] = [
      scene.agent('a', { leaseName: `${long}a` }),
      scene.agent('b', { leaseName: `${long}b` }),
    ]
    theirs.want({ gate: 'open', epoch: 2 })
    await theirs.settled()
    ours.want({ gate: 'open', epoch: 7 })
    await ours.settled()
    assert.deepEqual([scene.role('a'), scene.role('b')], ['leader', 'leader'])
    assert.match(scene.api.labels('a')[LEASE]!, /^l{46}-[0-9a-f]{16}$/)
  })

  it('never takes the label from a later leader, and says what that may mean', async () => {
    const scene = new Namespace()
    scene.stale('b', 8)
    const traffic = scene.agent('a')
    for (const gate of ['closed', 'open'] as const) {
      traffic.want({ gate, epoch: 7 })
      await scene.clock.pass(20_000)
      assert.deepEqual([scene.role('a'), scene.role('b')], ['standby', 'leader'])
      assert.match(
        traffic.view.problem!,
        /"b" is labelled as the leader of epoch 8, .* in epoch 7: .* kubectl label pod b /,
      )
    }
    // As the sentence says.
    scene.api.edit('b', ({ metadata }) => ({ metadata: { ...metadata, labels: {} } }))
    await scene.clock.pass(6_000)
    assert.equal(scene.role('a'), 'leader')
    assert.deepEqual(traffic.view, { routedTo: 'a', problem: null })
  })

  it('labels no leader that wakes up late, whose time is over by the clock', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a', { look: () => late && traffic.want({ gate: 'closed', epoch: null }) })
    let late = false
    traffic.want({ gate: 'open', epoch: 5 })
    await traffic.settled()
    const next = scene.agent('b')
    next.want({ gate: 'open', epoch: 6 })
    await next.settled()
    next.close()
    late = true
    const seen: unknown[] = []
    scene.api.meet = async (_, carryOut) => {
      const answer = carryOut()
      seen.push([scene.role('a'), scene.role('b')])
      return answer
    }
    await scene.clock.pass(60_000)
    assert.deepEqual(seen, [['standby', 'leader']])
    assert.equal(traffic.view.routedTo, '')
  })

  for (const call of ['list', 'get a']) {
    it(`labels no leader that learns during its "${call}" that it leads no more`, async () => {
      const scene = new Namespace()
      const traffic = scene.agent('a')
      scene.stale('b', 6)
      scene.api.meet = async (what, carryOut) => {
        if (what === call) traffic.want({ gate: 'closed', epoch: null })
        return carryOut()
      }
      traffic.want({ gate: 'open', epoch: 7 })
      await traffic.settled()
      const former = call === 'list' ? [] : ['patch b']
      assert.deepEqual(scene.api.writes, [...former, 'patch a'])
      assert.equal(scene.role('a'), 'standby')
    })
  }

  it('does not let the end of a term wait until all that former leaders left is relabelled', async () => {
    const scene = new Namespace()
    for (const name of ['a', 'b', 'c', 'd', 'e']) scene.stale(name, 3)
    const traffic = scene.agent('a')
    scene.api.meet = async (call, carryOut) => {
      if (!/^patch [b-e]$/.test(call)) return carryOut()
      await new Promise<void>((resolve) => scene.clock.after(2_000, resolve))
      throw unanswered()
    }
    traffic.want({ gate: 'open', epoch: 5 })
    await scene.clock.pass(100)
    traffic.want({ gate: 'closed', epoch: null })
    await scene.clock.pass(1_900)
    assert.ok(traffic.isSettled)
    assert.deepEqual(scene.api.calls, ['list', 'patch b', 'get a', 'patch a'])
  })

  it('takes no label from a pod that became the leader after it was listed', async () => {
    const scene = new Namespace()
    scene.stale('b', 3)
    const traffic = scene.agent('a')
    scene.api.meet = async (call, carryOut) => {
      // The agent sleeps between its list and its patch, and another leads meanwhile.
      if (call === 'patch b' && scene.api.annotations('b')[EPOCH] === '3') scene.stale('b', 8)
      return carryOut()
    }
    traffic.want({ gate: 'closed', epoch: 7 })
    await scene.clock.pass(2_000)
    assert.deepEqual([scene.role('b'), scene.api.annotations('b')[EPOCH]], ['leader', '8'])
  })

  it('touches no pod but its own while it does not lead', async () => {
    const scene = new Namespace()
    scene.stale('b', 3)
    const traffic = scene.agent('a')
    traffic.want({ gate: 'closed', epoch: null })
    await traffic.settled()
    assert.deepEqual(scene.api.calls, ['get a', 'patch a'])
    assert.equal(scene.role('b'), 'leader')
  })

  it('does not mind a former leader’s pod that is gone by then', async () => {
    const scene = new Namespace()
    scene.stale('b', 3)
    const traffic = scene.agent('a')
    scene.api.meet = async (call, carryOut) => {
      if (call === 'patch b') scene.api.objects.delete('b')
      return carryOut()
    }
    traffic.want({ gate: 'open', epoch: 7 })
    await traffic.settled()
    assert.deepEqual(traffic.view, { routedTo: 'a', problem: null })
  })

  it('touches no namesake of its pod, and says so', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a', { uid: 'another' })
    traffic.want({ gate: 'open', epoch: 7 })
    await settled()
    assert.deepEqual(scene.api.writes, [])
    assert.match(
      traffic.view.problem!,
      /this pod was deleted, and another has its name: "a" has the UID uid-of-a, and POD_UID says another; if .* take POD_NAME/,
    )
  })

  it('is not known to be reached any more once another pod has its name', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a')
    traffic.want({ gate: 'open', epoch: 7 })
    await traffic.settled()
    assert.equal(traffic.view.routedTo, 'a')
    scene.api.put('a', { metadata: { uid: 'another' } })
    await scene.clock.pass(6_000)
    assert.equal(traffic.view.routedTo, null)
    assert.deepEqual(scene.api.labels('a'), {})
  })

  it('leads traffic to its pod although others cannot be listed, and says which right is missing', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a')
    scene.api.meet = async (call, carryOut) => {
      if (call === 'list') throw forbidden('"list" pods in namespace "team"')
      return carryOut()
    }
    traffic.want({ gate: 'open', epoch: 7 })
    await settled()
    assert.equal(scene.role('a'), 'leader')
    assert.equal(traffic.view.routedTo, 'a')
    assert.match(traffic.view.problem!, /may not "list" pods .* add the verb to its Role/)
  })

  it('leaves a deletion cost alone that somebody else has set', async () => {
    const scene = new Namespace()
    scene.api.put('a', { metadata: { annotations: { [COST]: '5' } } })
    const traffic = scene.agent('a')
    for (const [wanted, role] of [
      [{ gate: 'closed', epoch: null }, 'standby'],
      [{ gate: 'open', epoch: 7 }, 'leader'],
      [{ gate: 'closed', epoch: null }, 'standby'],
    ] as const) {
      traffic.want(wanted)
      await traffic.settled()
      assert.deepEqual([scene.api.annotations('a')[COST], scene.role('a')], ['5', role])
    }
    assert.equal(scene.api.writes.length, 3)
    scene.stale('b', 6)
    scene.api.edit('b', ({ metadata }) => ({
      metadata: { ...metadata, annotations: { ...metadata.annotations, [COST]: '5' } },
    }))
    traffic.want({ gate: 'closed', epoch: 8 })
    await traffic.settled()
    assert.deepEqual([scene.api.annotations('b')[COST], scene.role('b')], ['5', 'standby'])
  })

  it('writes nothing again for a deletion cost that somebody else has set', async () => {
    const scene = new Namespace()
    scene.api.put('a', { metadata: { annotations: { [COST]: '5' } } })
    const traffic = scene.agent('a')
    traffic.want({ gate: 'open', epoch: 7 })
    await scene.clock.pass(60_000)
    assert.deepEqual(scene.api.writes, ['patch a'])
  })

  it('refuses an opening that comes late, after the gate has closed again', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a')
    traffic.want({ gate: 'closed', epoch: null })
    await traffic.settled()
    const lost = scene.api.loseAnswers('patch')
    traffic.want({ gate: 'open', epoch: 7 })
    await settled()
    assert.equal(traffic.view.routedTo, null)
    await scene.clock.pass(100)
    lost.answerAgain()
    traffic.want({ gate: 'closed', epoch: null })
    await traffic.settled()
    assert.throws(lost.late, { code: 'conflict' })
    assert.equal(scene.role('a'), 'standby')
  })

  describe('with a Lease that was made anew', () => {
    const UID = 'langflow-leader/lease-uid'

    /** A former leader of the Lease u1 left its pod labelled in epoch 8; u2 exists now, and `holder` holds it. */
    function anew(holder: string, uid: string | undefined = 'u1'): Namespace {
      const scene = new Namespace()
      scene.stale('gone', 8)
      if (uid !== undefined)
        scene.api.edit('gone', ({ metadata }) => ({
          metadata: { ...metadata, annotations: { ...metadata.annotations, [UID]: uid } },
        }))
      Object.assign(scene, { holder, lease: 'u2' })
      return scene
    }

    it('leads traffic to its holder, whose epochs begin again, whatever pods of the old one say', async () => {
      for (const uid of ['u1', undefined]) {
        const scene = anew('a', uid)
        const traffic = scene.agent('a')
        traffic.want({ gate: 'open', epoch: 1, leaseUid: 'u2' })
        await traffic.settled()
        assert.deepEqual([scene.role('a'), scene.role('gone')], ['leader', 'standby'])
        assert.deepEqual(
          [scene.api.annotations('a')[UID], scene.api.annotations('gone')[UID]],
          ['u2', undefined],
        )
        assert.equal(scene.asked, 1)
      }
    })

    it('is left to its holder by a leader of the old one, of whatever epoch', async () => {
      const scene = anew('gone', 'u2')
      const late = scene.agent('a')
      for (const epoch of [1, 9]) {
        late.want({ gate: 'open', epoch, leaseUid: 'u1' })
        await scene.clock.pass(20_000)
        assert.deepEqual([scene.role('a'), scene.role('gone')], [undefined, 'leader'])
        assert.match(
          late.view.problem!,
          /"gone" is labelled as the leader by another Lease .* not held by it/,
        )
      }
    })

    it('by its own holder changes nothing for those who are served', async () => {
      const scene = anew('a')
      const traffic = scene.agent('a')
      traffic.want({ gate: 'open', epoch: 1, leaseUid: 'u2' })
      await traffic.settled()
      traffic.want({ gate: 'open', epoch: 1, leaseUid: 'u3' })
      await traffic.settled()
      assert.deepEqual([scene.role('a'), scene.api.annotations('a')[UID]], ['leader', 'u3'])
    })

    it('is not asked for where a pod is of this one: a higher epoch is a later leader', async () => {
      const scene = anew('a', 'u2')
      const traffic = scene.agent('a')
      traffic.want({ gate: 'open', epoch: 7, leaseUid: 'u2' })
      await settled()
      assert.match(traffic.view.problem!, /epoch 8, .* in epoch 7: .* set back by hand/)
      assert.equal(scene.asked, 0)
    })
  })
})
