import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { pause } from '../../agent/clock.ts'
import type { KubeObject } from '../../agent/kube/objects.ts'
import { LabelRoute } from '../../agent/traffic/label-route.ts'
import { RoutedTraffic } from '../../agent/traffic/routed-traffic.ts'
import { SliceRoute } from '../../agent/traffic/slice-route.ts'
import type { Known } from '../../agent/traffic/traffic.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'
import { forbidden, StoredObjects, unanswered } from './stored-objects.ts'

const ROLE = 'langflow-leader/role'
const LEASE = 'langflow-leader/lease'
const EPOCH = 'langflow-leader/epoch'
const HOLDER = 'langflow-leader/holder'
const UID = 'langflow-leader/lease-uid'
const COST = 'controller.kubernetes.io/pod-deletion-cost'
const SLICE = 'langflow-leader'
const STANDING_BY = { gate: 'closed', epoch: null } as const

/** Resolves once the API server has acknowledged what is wanted from now on; fails where that takes another try. */
async function follows(traffic: RoutedTraffic, wanted: Known): Promise<void> {
  traffic.want(wanted)
  await settled()
  assert.equal(traffic.settling, null, traffic.view.problem ?? 'it waits for an answer')
}

interface Agent {
  readonly leaseName?: string
  readonly uid?: string
  readonly ip?: string
  readonly slice?: string
}

/** One namespace, and the agents that lead traffic in it. */
abstract class Namespace {
  readonly clock = new VirtualClock()
  readonly api = new StoredObjects()
  /** Which agent holds the Lease that exists now; what it leads in is the truth. */
  holder = ''
  lease = 'u1'
  asked = 0

  /** The verb of its writes. */
  abstract readonly writes: 'patch' | 'update'
  /** What an agent named `a` reads before it makes itself the one that is reached. */
  abstract readonly reads: readonly string[]
  /** The pods that traffic is led to. */
  abstract get reached(): string[]
  abstract agent(name: string, options?: Agent): RoutedTraffic
  /** What the leader `name` left behind, which is still led to. */
  abstract left(name: string, epoch: number, leaseUid?: string): void
  /** As the sentence about a later epoch says. */
  abstract free(name: string): void
  /** Of what makes traffic reach `name`. */
  abstract annotationsFor(name: string): Readonly<Record<string, string>>

  protected readonly leads = (name: string) => async (wanted: Known) => {
    this.asked++
    return name === this.holder && wanted.leaseUid === this.lease
  }

  async following(name: string, wanted: Partial<Known> = {}, options: Agent = {}): Promise<RoutedTraffic> {
    const traffic = this.agent(name, options)
    await follows(traffic, { gate: 'open', epoch: 7, ...wanted } as Known)
    return traffic
  }
}

class Labels extends Namespace {
  readonly writes = 'patch'
  readonly reads = ['list', 'get a']

  get reached(): string[] {
    return [...this.api.objects.keys()].filter((name) => this.api.labels(name)[ROLE] === 'leader')
  }

  agent(name: string, { leaseName = 'lock', uid = `uid-of-${name}` }: Agent = {}): RoutedTraffic {
    const { api, clock } = this
    if (!api.objects.has(name)) api.put(name)
    const route = new LabelRoute({ api, pod: { name, uid }, leaseName, leads: this.leads(name), clock })
    return new RoutedTraffic({ route, clock, listener: { look: () => {}, changed: () => {} } })
  }

  left(name: string, epoch: number, leaseUid?: string): void {
    const annotations = {
      [EPOCH]: String(epoch),
      [COST]: '1000',
      ...(leaseUid === undefined ? {} : { [UID]: leaseUid }),
    }
    this.api.put(name, {
      metadata: { labels: { app: 'langflow', [ROLE]: 'leader', [LEASE]: 'lock' }, annotations },
    })
  }

  free(name: string): void {
    this.api.edit(name, ({ metadata }) => ({ metadata: { ...metadata, labels: {} } }))
  }

  annotationsFor(name: string): Readonly<Record<string, string>> {
    return this.api.annotations(name)
  }
}

class Slice extends Namespace {
  readonly writes = 'update'
  readonly reads = [`get ${SLICE}`]

  constructor(addressType = 'IPv4') {
    super()
    this.api.put(SLICE, { addressType, endpoints: null })
  }

  get slice(): KubeObject {
    return this.api.objects.get(SLICE) as KubeObject
  }

  get reached(): string[] {
    const endpoints = (this.slice.endpoints ?? []) as { targetRef: { name: string } }[]
    return endpoints.map(({ targetRef }) => targetRef.name)
  }

  agent(name: string, { leaseName = 'lock', ip = '10.0.0.7', slice = SLICE }: Agent = {}): RoutedTraffic {
    const { api, clock } = this
    const pod = { name, uid: `uid-of-${name}`, ip }
    const leads = this.leads(name)
    const route = new SliceRoute({ api, name: slice, pod, identity: `${name}_id`, leaseName, leads, clock })
    return new RoutedTraffic({ route, clock, listener: { look: () => {}, changed: () => {} } })
  }

  left(name: string, epoch: number, leaseUid?: string): void {
    const uid = leaseUid === undefined ? {} : { [UID]: leaseUid }
    const annotations = { [HOLDER]: `${name}_id`, [EPOCH]: String(epoch), [LEASE]: 'lock', ...uid }
    this.api.edit(SLICE, ({ metadata }) => ({
      metadata: { ...metadata, annotations },
      endpoints: [{ addresses: ['10.0.0.8'], targetRef: { name } }],
    }))
  }

  free(): void {
    this.api.edit(SLICE, ({ metadata }) => ({ metadata: { ...metadata, annotations: {} } }))
  }

  annotationsFor(): Readonly<Record<string, string>> {
    return this.api.annotations(SLICE)
  }
}

for (const [mode, Mode] of Object.entries({ label: Labels, slice: Slice })) {
  describe(`traffic by ${mode}`, () => {
    it('reaches the leader while its gate is open', async () => {
      const scene: Namespace = new Mode()
      const traffic = await scene.following('a')
      assert.deepEqual([scene.reached, traffic.view], [['a'], { routedTo: 'a', problem: null, front: null }])
      await follows(traffic, STANDING_BY)
      assert.deepEqual([scene.reached, traffic.view], [[], { routedTo: '', problem: null, front: null }])
    })

    it('is not changed by an agent that was restarted, and asks nothing before what is wanted is known', async () => {
      const scene: Namespace = new Mode()
      await (await scene.following('a')).close()
      scene.api.calls.length = 0
      const after = scene.agent('a')
      after.want({ gate: 'unknown' })
      await scene.clock.pass(60_000)
      assert.deepEqual(scene.api.calls, [])
      await follows(after, { gate: 'open', epoch: 7 })
      assert.deepEqual(scene.api.calls, scene.reads)
    })

    it('is taken from a former leader as soon as a term begins, before LangFlow is healthy', async () => {
      const scene: Namespace = new Mode()
      scene.left('b', 6)
      await scene.following('a', { gate: 'closed' })
      assert.deepEqual(scene.reached, [])
    })

    it('is written again after somebody else took it out', async () => {
      const scene: Namespace = new Mode()
      await scene.following('a')
      if (scene instanceof Labels) scene.free('a')
      else scene.api.edit(SLICE, () => ({ endpoints: [] }))
      assert.deepEqual(scene.reached, [])
      await scene.clock.pass(6_000)
      assert.deepEqual(scene.reached, ['a'])
    })

    it('is fenced by the epoch: a later leader keeps it, and the problem says what to do', async () => {
      const scene: Namespace = new Mode()
      scene.left('b', 8)
      const traffic = scene.agent('a')
      for (const gate of ['closed', 'open'] as const) {
        traffic.want({ gate, epoch: 7 })
        await scene.clock.pass(20_000)
        assert.deepEqual(scene.reached, ['b'])
        assert.match(
          traffic.view.problem ?? '',
          mode === 'label'
            ? /"b" is labelled as the leader of epoch 8, .* in epoch 7: .* kubectl label pod b /
            : /written in epoch 8, .* in epoch 7: .* kubectl annotate endpointslice langflow-leader langflow-leader\/epoch-/,
        )
      }
      scene.free('b')
      await scene.clock.pass(6_000)
      assert.deepEqual([scene.reached, traffic.view], [['a'], { routedTo: 'a', problem: null, front: null }])
    })

    it('is changed by compare-and-swap: a leader that wrote after the read keeps it', async () => {
      const scene: Namespace = new Mode()
      scene.left('b', 3)
      const traffic = scene.agent('a')
      scene.api.before(new RegExp(`^${scene.writes}`), () => {
        if (scene.annotationsFor('b')[EPOCH] === '3') scene.left('b', 8)
      })
      traffic.want({ gate: 'closed', epoch: 7 })
      await scene.clock.pass(2_000)
      assert.deepEqual([scene.reached, scene.annotationsFor('b')[EPOCH]], [['b'], '8'])
    })

    it('is left to whoever has it by a former leader whose gate closes late', async () => {
      const scene: Namespace = new Mode()
      const former = await scene.following('a')
      await scene.following('b', { epoch: 8 })
      await follows(former, STANDING_BY)
      assert.deepEqual(scene.reached, ['b'])
    })

    it('reaches no leader that learns during a read that it leads no more', async () => {
      for (const read of new Mode().reads) {
        const scene: Namespace = new Mode()
        scene.left('b', 6)
        const traffic = scene.agent('a')
        scene.api.before(new RegExp(`^${read}$`), () => traffic.want(STANDING_BY))
        await follows(traffic, { gate: 'open', epoch: 7 })
        assert.ok(!scene.reached.includes('a'), read)
      }
    })

    it('settles what came late: an opening without an answer is void once the gate has closed', async () => {
      const scene: Namespace = new Mode()
      const traffic = await scene.following('a', { gate: 'closed' })
      const lost = scene.api.loseAnswers(scene.writes)
      traffic.want({ gate: 'open', epoch: 7 })
      await settled()
      assert.equal(traffic.view.routedTo, null)
      await scene.clock.pass(100)
      lost.answerAgain()
      await follows(traffic, STANDING_BY)
      assert.throws(lost.late, { code: 'conflict' })
      assert.deepEqual(scene.reached, [])
    })

    describe('with a Lease that was made anew', () => {
      /** A former leader wrote in epoch 8 of the Lease `uid`; u2 exists now, and `holder` holds it. */
      function anew(holder: string, uid: string | undefined): Namespace {
        const scene = new Mode()
        scene.left('b', 8, uid)
        return Object.assign(scene, { holder, lease: 'u2' })
      }

      it('goes to its holder, whose epochs begin again, also where the old one was not named', async () => {
        for (const uid of ['u1', undefined]) {
          const scene = anew('a', uid)
          const traffic = await scene.following('a', { gate: 'closed', epoch: 1, leaseUid: 'u2' })
          assert.deepEqual(scene.reached, [])
          await follows(traffic, { gate: 'open', epoch: 1, leaseUid: 'u2' })
          assert.deepEqual([scene.reached, scene.annotationsFor('a')[UID]], [['a'], 'u2'])
          assert.equal(scene.asked, 1, 'the Lease is asked only where it is of another one')
        }
      })

      it('is left to its holder by a leader of the old one, of whatever epoch', async () => {
        const scene = anew('b', 'u2')
        const late = scene.agent('a')
        for (const epoch of [1, 9]) {
          late.want({ gate: 'open', epoch, leaseUid: 'u1' })
          await scene.clock.pass(20_000)
          assert.deepEqual(scene.reached, ['b'])
          assert.match(late.view.problem ?? '', /another Lease .* not held by it/)
        }
      })

      it('by its own holder changes nothing for those who are served', async () => {
        const scene: Namespace = new Mode()
        const traffic = await scene.following('a', { leaseUid: 'u1' })
        Object.assign(scene, { holder: 'a', lease: 'u2' })
        await follows(traffic, { gate: 'open', epoch: 7, leaseUid: 'u2' })
        assert.deepEqual([scene.reached, scene.annotationsFor('a')[UID]], [['a'], 'u2'])
        assert.equal(scene.api.writes.length, 2)
      })

      it('is not asked for where a higher epoch is of this one: that is a later leader', async () => {
        const scene = anew('a', 'u2')
        const traffic = scene.agent('a')
        traffic.want({ gate: 'open', epoch: 7, leaseUid: 'u2' })
        await settled()
        assert.match(traffic.view.problem ?? '', /epoch 8, .* in epoch 7: .* set back by hand/)
        assert.equal(scene.asked, 0)
      })
    })
  })
}

describe('a pod’s label', () => {
  it('comes with its Lease and epoch, makes it the last to be scaled away, and goes with all of that', async () => {
    const scene = new Labels()
    const traffic = await scene.following('a')
    assert.deepEqual(scene.api.labels('a'), { [ROLE]: 'leader', [LEASE]: 'lock' })
    assert.deepEqual([scene.api.annotations('a')[EPOCH], scene.api.annotations('a')[COST]], ['7', '1000'])
    await follows(traffic, STANDING_BY)
    assert.deepEqual(scene.api.labels('a'), { [ROLE]: 'standby', [LEASE]: 'lock' })
    assert.deepEqual(Object.keys(scene.api.annotations('a')), ['langflow-leader/changed-at'])
  })

  it('is taken from each former leader first, also where one is gone by then; nothing else of it changes', async () => {
    const scene = new Labels()
    scene.left('gone', 3)
    scene.left('b', 6)
    scene.api.before(/^patch gone$/, () => scene.api.objects.delete('gone'))
    const traffic = await scene.following('a')
    assert.deepEqual(scene.api.writes, ['patch gone', 'patch b', 'patch a'])
    assert.deepEqual([scene.api.labels('b').app, scene.api.annotations('b')[COST]], ['langflow', undefined])
    assert.deepEqual(traffic.view, { routedTo: 'a', problem: null, front: null })
  })

  it('is left alone on every other pod by one that does not lead', async () => {
    const scene = new Labels()
    scene.left('b', 3)
    await scene.following('a', STANDING_BY)
    assert.deepEqual(scene.api.calls, ['get a', 'patch a'])
  })

  it('of another LangFlow is left alone, also where the names of the Leases are longer than a label', async () => {
    for (const [theirs, ours] of [
      ['other', 'lock'],
      [`${'l'.repeat(200)}b`, `${'l'.repeat(200)}a`],
    ] as const) {
      const scene = new Labels()
      await scene.following('b', { epoch: 2 }, { leaseName: theirs })
      await scene.following('a', {}, { leaseName: ours })
      assert.deepEqual(scene.reached, ['b', 'a'])
      assert.match(scene.api.labels('a')[LEASE] ?? '', /^(lock|l{46}-[0-9a-f]{16})$/)
    }
  })

  it('does not let the end of a term wait until all former leaders are relabelled', async () => {
    const scene = new Labels()
    for (const name of ['a', 'b', 'c', 'd', 'e']) scene.left(name, 3)
    const traffic = scene.agent('a')
    scene.api.before(/^patch [b-e]$/, async () => {
      await pause(scene.clock, 2_000)
      throw unanswered()
    })
    traffic.want({ gate: 'open', epoch: 5 })
    await scene.clock.pass(100)
    traffic.want(STANDING_BY)
    await scene.clock.pass(1_900)
    assert.equal(traffic.settling, null)
    assert.deepEqual(scene.api.calls, ['list', 'patch b', 'get a', 'patch a'])
  })

  it('is not given to a namesake, and the problem says so', async () => {
    const scene = new Labels()
    const traffic = await scene.following('a')
    scene.api.put('a', { metadata: { uid: 'another' } })
    await scene.clock.pass(6_000)
    assert.equal(traffic.view.routedTo, null)
    assert.deepEqual(scene.api.labels('a'), {})
    assert.match(
      traffic.view.problem ?? '',
      /this pod was deleted, and another has its name: "a" has the UID another, and POD_UID says uid-of-a; if .* take POD_NAME/,
    )
  })

  it('is given although the other pods cannot be listed', async () => {
    const scene = new Labels()
    const traffic = scene.agent('a')
    scene.api.before(/^list$/, () => Promise.reject(forbidden('"list" pods in namespace "team"')))
    traffic.want({ gate: 'open', epoch: 7 })
    await settled()
    assert.deepEqual([scene.reached, traffic.view.routedTo], [['a'], 'a'])
    assert.match(traffic.view.problem ?? '', /may not "list" pods .* add the verb to its Role/)
  })

  it('leaves a deletion cost alone that somebody else has set, and does not write again because of it', async () => {
    const scene = new Labels()
    scene.left('b', 6)
    scene.api.edit('b', ({ metadata }) => ({
      metadata: { ...metadata, annotations: { ...metadata.annotations, [COST]: '5' } },
    }))
    scene.api.put('a', { metadata: { annotations: { [COST]: '5' } } })
    const traffic = await scene.following('a')
    await scene.clock.pass(60_000)
    assert.deepEqual(scene.api.writes, ['patch b', 'patch a'])
    await follows(traffic, STANDING_BY)
    assert.deepEqual([scene.api.annotations('a')[COST], scene.api.annotations('b')[COST]], ['5', '5'])
    assert.deepEqual(scene.reached, [])
  })
})

describe('an EndpointSlice', () => {
  it('gets the leader’s address, who it is and in which epoch, and nothing else', async () => {
    const scene = new Slice()
    const given = { ports: [{ port: 7860 }], addressType: 'IPv4' }
    const labels = { 'kubernetes.io/service-name': 'langflow' }
    scene.api.put(SLICE, { ...given, endpoints: null, metadata: { labels } })
    await scene.following('a')
    const { endpoints, ports, addressType, metadata } = scene.slice
    assert.deepEqual(endpoints, [
      {
        addresses: ['10.0.0.7'],
        conditions: { ready: true, serving: true, terminating: false },
        targetRef: { kind: 'Pod', namespace: 'team', name: 'a', uid: 'uid-of-a' },
      },
    ])
    assert.deepEqual([{ ports, addressType }, metadata.labels], [given, labels])
    const { [HOLDER]: holder, [EPOCH]: epoch, [LEASE]: lease } = scene.annotationsFor()
    assert.deepEqual([holder, epoch, lease], ['a_id', '7', 'lock'])
  })

  it('is the new leader’s from the beginning of its term, even where nobody was left in it', async () => {
    const scene = new Slice()
    const former = await scene.following('b', { epoch: 6 })
    await follows(former, STANDING_BY)
    await scene.following('a', { gate: 'closed' })
    const { [HOLDER]: holder, [EPOCH]: epoch } = scene.annotationsFor()
    assert.deepEqual([holder, epoch], ['a_id', '7'])
  })

  it('that is still a former leader’s is touched, so that an opening that comes late is refused', async () => {
    const scene = new Slice()
    const former = await scene.following('b', { epoch: 6 })
    await follows(former, STANDING_BY)
    const traffic = scene.agent('a')
    const lost = scene.api.loseAnswers('update')
    traffic.want({ gate: 'open', epoch: 7 })
    await scene.clock.pass(100)
    lost.answerAgain()
    await follows(traffic, STANDING_BY)
    assert.throws(lost.late, { code: 'conflict' })
    const { [HOLDER]: holder, [EPOCH]: epoch } = scene.annotationsFor()
    assert.deepEqual([scene.reached, holder, epoch], [[], 'b_id', '6'])
  })

  it('gets no late write of a leader of an old Lease after the holder of the new one wrote', async () => {
    const scene = Object.assign(new Slice(), { holder: 'late', lease: 'u0' })
    scene.left('b', 8, 'u1')
    const late = scene.agent('late')
    const lost = scene.api.loseAnswers('update')
    // What was true when it asked: the new Lease was not there yet.
    late.want({ gate: 'open', epoch: 9, leaseUid: 'u0' })
    await settled()
    await late.close()
    lost.answerAgain()
    Object.assign(scene, { holder: 'a', lease: 'u2' })
    await scene.following('a', { epoch: 1, leaseUid: 'u2' })
    assert.throws(lost.late, { code: 'conflict' })
    assert.deepEqual(scene.reached, ['a'])
  })

  it('takes an IPv6 address where it is for those', async () => {
    const scene = new Slice('IPv6')
    await scene.following('a', {}, { ip: 'fd00::7' })
    assert.deepEqual(scene.reached, ['a'])
  })

  const wrong: [what: string, slice: Slice, options: Agent, problem: RegExp][] = [
    [
      'is of the other family',
      new Slice('IPv6'),
      {},
      /is for IPv6, and this pod's address 10\.0\.0\.7 is IPv4: delete it and make it anew/,
    ],
    [
      'belongs to another LangFlow',
      new Slice(),
      { leaseName: 'other' },
      /belongs to the Lease "lock", not to "other": give each LangFlow its own/,
    ],
    [
      'is not there',
      new Slice(),
      { slice: 'web' },
      /there is no "web": apply the one of deploy\/components\/traffic-slice, or name yours with --endpoint-slice/,
    ],
  ]
  for (const [what, scene, options, problem] of wrong) {
    it(`that ${what} is left as it is, and a standby says so already`, async () => {
      scene.left('b', 2)
      const traffic = scene.agent('a', options)
      for (const wanted of [STANDING_BY, { gate: 'open', epoch: 9 }] as const) {
        traffic.want(wanted)
        await settled()
        assert.match(traffic.view.problem ?? '', problem)
      }
      assert.deepEqual([scene.reached, scene.api.writes], [['b'], []])
    })
  }

  it('that was missing is written once it was applied', async () => {
    const scene = new Slice()
    const traffic = scene.agent('a', { slice: 'web' })
    traffic.want({ gate: 'open', epoch: 1 })
    await settled()
    scene.api.put('web', { addressType: 'IPv4' })
    await scene.clock.pass(6_000)
    assert.deepEqual(traffic.view, { routedTo: 'a', problem: null, front: null })
  })
})
