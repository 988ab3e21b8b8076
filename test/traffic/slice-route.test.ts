import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { KubeObject } from '../../agent/kube/objects.ts'
import { RoutedTraffic } from '../../agent/traffic/routed-traffic.ts'
import { SliceRoute } from '../../agent/traffic/slice-route.ts'
import type { Known } from '../../agent/traffic/traffic.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'
import { NOBODY } from './nobody.ts'
import { forbidden, StoredObjects } from './stored-objects.ts'

const NAME = 'langflow-leader'
const HOLDER = 'langflow-leader/holder'
const EPOCH = 'langflow-leader/epoch'
const LEASE = 'langflow-leader/lease'
const LABELS = { 'kubernetes.io/service-name': 'langflow' }
const PORTS = [{ name: 'http', port: 7860, protocol: 'TCP' }]

/** An EndpointSlice as the manifests make it, and the agents that write to it. */
class Namespace {
  readonly clock = new VirtualClock()
  readonly api = new StoredObjects()

  constructor(slice: Partial<KubeObject> = {}) {
    this.api.put(NAME, {
      addressType: 'IPv4',
      ports: PORTS,
      endpoints: null,
      metadata: { labels: LABELS },
      ...slice,
    })
  }

  agent(name: string, { ip = '10.0.0.7', leaseName = 'lock', slice = NAME } = {}): RoutedTraffic {
    const { api, clock } = this
    const pod = { name, uid: `uid-of-${name}`, ip }
    const leads = (wanted: Known) => this.leads(name, wanted)
    const route = new SliceRoute({ api, name: slice, pod, identity: `${name}_id`, leaseName, leads, clock })
    return new RoutedTraffic({ route, clock, listener: NOBODY })
  }

  /** Which agent holds the Lease that exists now; what it leads in is the truth. */
  holder: string | undefined
  lease = 'u1'
  asked = 0

  private async leads(name: string, { leaseUid }: Known): Promise<boolean> {
    this.asked++
    return name === this.holder && leaseUid === this.lease
  }

  get slice(): KubeObject {
    return this.api.objects.get(NAME)!
  }

  get addresses(): string[] {
    const endpoints = (this.slice.endpoints ?? []) as { addresses: string[] }[]
    return endpoints.flatMap(({ addresses }) => addresses)
  }

  annotation(name: string): string | undefined {
    return this.api.annotations(NAME)[name]
  }

  /** What a leader of `epoch` wrote. */
  async held(by: string, epoch: number, ip = '10.0.0.8'): Promise<RoutedTraffic> {
    const traffic = this.agent(by, { ip })
    traffic.want({ gate: 'open', epoch })
    await traffic.settled()
    return traffic
  }
}

describe('the slice mode', () => {
  it('writes the leader’s address, who it is and in which epoch, and nothing else', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a')
    traffic.want({ gate: 'open', epoch: 7 })
    await traffic.settled()
    const { endpoints, ports, addressType, metadata } = scene.slice
    assert.deepEqual(endpoints, [
      {
        addresses: ['10.0.0.7'],
        conditions: { ready: true, serving: true, terminating: false },
        targetRef: { kind: 'Pod', namespace: 'team', name: 'a', uid: 'uid-of-a' },
      },
    ])
    assert.deepEqual([ports, addressType, metadata.labels], [PORTS, 'IPv4', LABELS])
    assert.deepEqual(
      [scene.annotation(HOLDER), scene.annotation(EPOCH), scene.annotation(LEASE)],
      ['a_id', '7', 'lock'],
    )
    assert.deepEqual(traffic.view, { routedTo: 'a', problem: null })
  })

  it('leaves nobody in it when the gate closes', async () => {
    const scene = new Namespace()
    const traffic = await scene.held('a', 7)
    traffic.want({ gate: 'closed', epoch: null })
    await traffic.settled()
    assert.deepEqual(scene.addresses, [])
    assert.equal(scene.annotation(EPOCH), '7')
    assert.equal(traffic.view.routedTo, '')
  })

  it('takes nothing from whoever wrote last when the gate closes late', async () => {
    const scene = new Namespace()
    const former = await scene.held('a', 7)
    const leader = await scene.held('b', 8, '10.0.0.9')
    scene.api.calls.length = 0
    former.want({ gate: 'closed', epoch: null })
    await former.settled()
    assert.deepEqual(scene.addresses, ['10.0.0.9'])
    assert.deepEqual(scene.api.writes, [])
    assert.deepEqual([former.view.routedTo, leader.view.routedTo], ['b', 'b'])
  })

  it('takes a former leader out as soon as a term begins, before LangFlow is healthy', async () => {
    const scene = new Namespace()
    await scene.held('b', 6)
    const traffic = scene.agent('a')
    traffic.want({ gate: 'closed', epoch: 7 })
    await traffic.settled()
    assert.deepEqual(scene.addresses, [])
    assert.deepEqual([scene.annotation(HOLDER), scene.annotation(EPOCH)], ['a_id', '7'])
  })

  it('is the new leader’s from the beginning of its term, even where nobody was left in it', async () => {
    const scene = new Namespace()
    const former = await scene.held('b', 6)
    former.want({ gate: 'closed', epoch: null })
    await former.settled()
    const traffic = scene.agent('a')
    traffic.want({ gate: 'closed', epoch: 7 })
    await traffic.settled()
    assert.deepEqual([scene.annotation(HOLDER), scene.annotation(EPOCH)], ['a_id', '7'])
  })

  it('changes nothing after a restart of a leader’s agent', async () => {
    const scene = new Namespace()
    ;(await scene.held('a', 7, '10.0.0.7')).close()
    scene.api.calls.length = 0
    const after = scene.agent('a')
    after.want({ gate: 'unknown' })
    await scene.clock.pass(60_000)
    assert.deepEqual(scene.api.calls, [])
    after.want({ gate: 'open', epoch: 7 })
    await after.settled()
    assert.deepEqual(scene.api.calls, [`get ${NAME}`])
  })

  it('never writes over a later epoch, and says what that may mean', async () => {
    const scene = new Namespace()
    await scene.held('b', 8)
    const traffic = scene.agent('a')
    for (const wanted of [{ gate: 'closed', epoch: 7 } as const, { gate: 'open', epoch: 7 } as const]) {
      traffic.want(wanted)
      await settled()
      assert.deepEqual(scene.addresses, ['10.0.0.8'])
      assert.match(
        traffic.view.problem!,
        /written in epoch 8, .* in epoch 7: .* kubectl annotate endpointslice langflow-leader langflow-leader\/epoch-/,
      )
    }
  })

  it('gives way to a leader that wrote between its read and its own write', async () => {
    const scene = new Namespace()
    const traffic = await scene.held('a', 7)
    scene.api.meet = async (call, carryOut) => {
      if (call.startsWith('update') && scene.annotation(EPOCH) === '7') {
        const annotations = { [HOLDER]: 'b_id', [EPOCH]: '8', [LEASE]: 'lock' }
        scene.api.edit(NAME, (slice) => ({
          metadata: { ...slice.metadata, annotations },
          endpoints: [{ addresses: ['10.0.0.9'] }],
        }))
      }
      return carryOut()
    }
    traffic.want({ gate: 'closed', epoch: null })
    await scene.clock.pass(100)
    await traffic.settled()
    assert.deepEqual(scene.addresses, ['10.0.0.9'])
    assert.equal(traffic.view.problem, null)
  })

  it('is told by a standby that it belongs to another LangFlow, and is left to it', async () => {
    const scene = new Namespace()
    await scene.held('b', 2)
    const traffic = scene.agent('a', { leaseName: 'other' })
    traffic.want({ gate: 'closed', epoch: null })
    await settled()
    assert.match(
      traffic.view.problem!,
      /belongs to the Lease "lock", not to "other": give each LangFlow its own/,
    )
    traffic.want({ gate: 'open', epoch: 9 })
    await settled()
    assert.deepEqual(scene.addresses, ['10.0.0.8'])
  })

  it('is told by a standby that its family is not the pod’s', async () => {
    const scene = new Namespace({ addressType: 'IPv6' })
    const traffic = scene.agent('a')
    traffic.want({ gate: 'closed', epoch: null })
    await settled()
    assert.match(
      traffic.view.problem!,
      /is for IPv6, and this pod's address 10\.0\.0\.7 is IPv4: delete it and make it anew/,
    )
    assert.deepEqual(scene.api.writes, [])
  })

  it('takes an IPv6 address where it is for those', async () => {
    const scene = new Namespace({ addressType: 'IPv6' })
    const traffic = scene.agent('a', { ip: 'fd00::7' })
    traffic.want({ gate: 'open', epoch: 1 })
    await traffic.settled()
    assert.deepEqual(scene.addresses, ['fd00::7'])
  })

  it('says which manifest is missing, and goes on once it was applied', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a', { slice: 'web' })
    traffic.want({ gate: 'open', epoch: 1 })
    await settled()
    assert.match(
      traffic.view.problem!,
      /there is no "web": apply the one of deploy\/components\/traffic-slice, or name yours with --endpoint-slice/,
    )
    scene.api.put('web', { addressType: 'IPv4' })
    await scene.clock.pass(6_000)
    assert.equal(traffic.view.problem, null)
    assert.equal(traffic.view.routedTo, 'a')
  })

  it('says which right is missing', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a')
    scene.api.meet = async (call, carryOut) => {
      if (call.startsWith('update')) throw forbidden('"update" endpointslices.discovery.k8s.io')
      return carryOut()
    }
    traffic.want({ gate: 'open', epoch: 1 })
    await settled()
    assert.match(traffic.view.problem!, /may not "update" endpointslices.* add the verb to its Role/)
  })

  it('writes again what somebody took out, e.g. by applying the manifests', async () => {
    const scene = new Namespace()
    await scene.held('a', 7)
    scene.api.edit(NAME, () => ({ endpoints: [] }))
    await scene.clock.pass(6_000)
    assert.deepEqual(scene.addresses, ['10.0.0.8'])
  })

  it('refuses an opening that comes late also where the slice is still a former leader’s', async () => {
    const scene = new Namespace()
    const former = await scene.held('b', 6)
    former.want({ gate: 'closed', epoch: null })
    await former.settled()
    const traffic = scene.agent('a')
    const lost = scene.api.loseAnswers('update')
    traffic.want({ gate: 'open', epoch: 7 })
    await settled()
    await scene.clock.pass(100)
    lost.answerAgain()
    traffic.want({ gate: 'closed', epoch: null })
    await traffic.settled()
    assert.throws(lost.late, { code: 'conflict' })
    assert.deepEqual(scene.addresses, [])
    assert.deepEqual([scene.annotation(HOLDER), scene.annotation(EPOCH)], ['b_id', '6'])
  })

  it('gets no address of a leader that learns during its read that it leads no more', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a')
    scene.api.meet = async (_, carryOut) => {
      traffic.want({ gate: 'closed', epoch: null })
      return carryOut()
    }
    traffic.want({ gate: 'open', epoch: 7 })
    await traffic.settled()
    assert.deepEqual(scene.api.writes, [])
    assert.equal(traffic.view.routedTo, '')
  })

  it('refuses an opening that comes late, after the gate has closed again', async () => {
    const scene = new Namespace()
    const traffic = scene.agent('a')
    traffic.want({ gate: 'closed', epoch: 7 })
    await traffic.settled()
    const lost = scene.api.loseAnswers('update')
    traffic.want({ gate: 'open', epoch: 7 })
    await settled()
    await scene.clock.pass(100)
    lost.answerAgain()
    traffic.want({ gate: 'closed', epoch: null })
    await traffic.settled()
    assert.throws(lost.late, { code: 'conflict' })
    assert.deepEqual(scene.addresses, [])
  })

  describe('with a Lease that was made anew', () => {
    const UID = 'langflow-leader/lease-uid'

    /** A former leader of the Lease u1 wrote in epoch 8; u2 exists now, and `holder` holds it. */
    async function anew(holder: string): Promise<Namespace> {
      const scene = new Namespace()
      const former = scene.agent('b', { ip: '10.0.0.8' })
      former.want({ gate: 'open', epoch: 8, leaseUid: 'u1' })
      await former.settled()
      former.close()
      assert.equal(scene.annotation(UID), 'u1')
      Object.assign(scene, { holder, lease: 'u2' })
      return scene
    }

    it('leads traffic to its holder, whose epochs begin again', async () => {
      const scene = await anew('a')
      const traffic = scene.agent('a')
      traffic.want({ gate: 'closed', epoch: 1, leaseUid: 'u2' })
      await traffic.settled()
      assert.deepEqual([scene.addresses, scene.annotation(EPOCH), scene.annotation(UID)], [[], '1', 'u2'])
      traffic.want({ gate: 'open', epoch: 1, leaseUid: 'u2' })
      await traffic.settled()
      assert.deepEqual(scene.addresses, ['10.0.0.7'])
      assert.equal(scene.asked, 1, 'the Lease is asked only where the slice is of another one')
    })

    it('leaves it alone where its leader does not hold the Lease that exists now, of whatever epoch', async () => {
      const scene = await anew('c')
      const late = scene.agent('a')
      for (const epoch of [1, 9]) {
        late.want({ gate: 'open', epoch, leaseUid: 'u0' })
        await settled()
        assert.deepEqual([scene.addresses, scene.annotation(EPOCH)], [['10.0.0.8'], '8'])
        assert.match(late.view.problem!, /another Lease "lock" .* not held by it/)
      }
    })

    it('does not let a leader of the old one write after the holder of the new one did', async () => {
      const scene = await anew('a')
      // What was true when it asked: the new Lease was not there yet.
      Object.assign(scene, { holder: 'late', lease: 'u0' })
      const [late, leader] = [scene.agent('late', { ip: '10.0.0.9' }), scene.agent('a')]
      const hold = scene.api.loseAnswers('update')
      late.want({ gate: 'open', epoch: 9, leaseUid: 'u0' })
      await settled()
      late.close()
      hold.answerAgain()
      Object.assign(scene, { holder: 'a', lease: 'u2' })
      leader.want({ gate: 'open', epoch: 1, leaseUid: 'u2' })
      await leader.settled()
      assert.throws(hold.late, { code: 'conflict' })
      assert.deepEqual([scene.addresses, scene.annotation(UID)], [['10.0.0.7'], 'u2'])
    })

    it('by its own holder changes nothing for those who are served', async () => {
      const scene = new Namespace()
      const traffic = scene.agent('a')
      traffic.want({ gate: 'open', epoch: 7, leaseUid: 'u1' })
      await traffic.settled()
      Object.assign(scene, { holder: 'a', lease: 'u2' })
      traffic.want({ gate: 'open', epoch: 7, leaseUid: 'u2' })
      await traffic.settled()
      assert.deepEqual([scene.addresses, scene.annotation(UID)], [['10.0.0.7'], 'u2'])
      assert.deepEqual(scene.api.writes.length, 2)
    })

    it('is asked for as well where the slice does not say of which Lease its higher epoch is', async () => {
      const scene = new Namespace()
      await scene.held('b', 8)
      Object.assign(scene, { holder: 'a', lease: 'u2' })
      const traffic = scene.agent('a')
      traffic.want({ gate: 'open', epoch: 1, leaseUid: 'u2' })
      await traffic.settled()
      assert.deepEqual(scene.addresses, ['10.0.0.7'])
    })

    it('is not asked for where the slice is of this one: a higher epoch is a later leader', async () => {
      const scene = await anew('a')
      const traffic = scene.agent('a')
      traffic.want({ gate: 'open', epoch: 7, leaseUid: 'u1' })
      await settled()
      assert.match(traffic.view.problem!, /written in epoch 8, .* in epoch 7: .* set back by hand/)
      assert.equal(scene.asked, 0)
    })
  })
})
