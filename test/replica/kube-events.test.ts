import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ApiError, type ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import { type EventsApi, KubeEvents, type ReplicaEvent } from '../../agent/replica/kube-events.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

interface Body {
  readonly metadata: { readonly namespace: string; readonly annotations: Readonly<Record<string, string>> }
  readonly eventTime: string
  readonly note: string
  readonly regarding: { readonly kind: string; readonly namespace: string }
}

interface Written {
  readonly name: string
  readonly body: Body
}

const ACQUIRED: ReplicaEvent = {
  reason: 'LeaderAcquired',
  epoch: 7,
  code: 'released',
  because: 'it was free',
}
const DOUBT: ReplicaEvent = { reason: 'LeadershipInDoubt', epoch: 7, code: 'no_renewal' }
const REFUSED: ReplicaEvent = { reason: 'SwitchoverRefused', epoch: 7, because: 'to b: there is no b' }
const MINUTES = 60_000

/** The response of the API server: success, an error, or success after a promise resolves. */
type Answer = 'ok' | ApiErrorCode | Promise<void>

/** Events of a replica. The test plays the API server. */
class Bench {
  readonly clock = new VirtualClock()
  readonly written: Written[] = []
  readonly said: string[] = []
  readonly infos: string[] = []
  readonly closed: string[] = []
  readonly events: KubeEvents
  answer: Answer = 'ok'

  constructor({ isPod = true, podNamespace = 'team' } = {}) {
    this.events = new KubeEvents({
      options: {
        identity: 'langflow-0_b9d8',
        leaseName: 'lock',
        pod: isPod ? { name: 'langflow-0', uid: 'b9d8' } : { name: null, uid: null },
      },
      objects: (around) => this.api(around === 'pod' ? podNamespace : 'team'),
      leaseUid: () => 'c7',
      clock: this.clock,
      log: { warn: (line) => void this.said.push(line), info: (line) => void this.infos.push(line) },
    })
  }

  private api(namespace: string): EventsApi {
    const answer = async (name: string, body: object) => {
      this.written.push({ name, body: body as Body })
      const { answer } = this
      if (answer instanceof Promise) await answer
      else if (answer !== 'ok') throw new ApiError(answer, `it is ${answer}`)
      return { metadata: { name, uid: 'u', resourceVersion: '1' } }
    }
    return {
      namespace,
      create: (_, event) => answer(event.metadata.name, event),
      close: () => void this.closed.push(namespace),
    }
  }

  /** The writes since the last call. */
  async take(passMs = 0): Promise<Written[]> {
    await this.clock.pass(passMs)
    await settled()
    return this.written.splice(0)
  }
}

const kinds = (written: readonly Written[]) => written.map(({ body }) => body.regarding.kind)

describe('a replica’s event', () => {
  test('becomes an Event on the pod and one on the Lease, each of which names the other object', async () => {
    const b = new Bench()
    b.events.record(ACQUIRED)
    const [ofPod, ofLease, ...more] = await b.take()
    const pod = { apiVersion: 'v1', kind: 'Pod', namespace: 'team', name: 'langflow-0', uid: 'b9d8' }
    const lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      namespace: 'team',
      name: 'lock',
      uid: 'c7',
    }
    const time = new Date(b.clock.now().wall).toISOString().replace('Z', '000Z')
    const event = (regarding: object, related: object, name: string | undefined) => ({
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: {
        name,
        namespace: 'team',
        annotations: { 'langflow-leader/epoch': '7', 'langflow-leader/code': 'released' },
      },
      eventTime: time,
      reportingController: 'langflow-leader',
      reportingInstance: 'langflow-0_b9d8',
      action: 'Acquire',
      reason: 'LeaderAcquired',
      type: 'Normal',
      note: 'langflow-0 acquired the Lease: it was free (epoch 7, released)',
      regarding,
      related,
    })
    assert.deepEqual(ofPod?.body, event(pod, lease, ofPod?.name))
    assert.deepEqual(ofLease?.body, event(lease, pod, ofLease?.name))
    assert.match(ofPod!.name, /^langflow-0\.[0-9a-f]{16}$/)
    assert.match(ofLease!.name, /^lock\.[0-9a-f]{16}$/)
    assert.deepEqual([more, b.said, b.infos], [[], [], []])
  })

  test('becomes an Event on the Lease only if there is no pod, which is logged once', async () => {
    const b = new Bench({ isPod: false })
    b.events.record(ACQUIRED)
    b.events.record(DOUBT)
    const written = await b.take()
    assert.deepEqual(kinds(written), ['Lease', 'Lease'])
    assert.match(written[0]!.body.note, /^langflow-0_b9d8 acquired/)
    assert.equal('related' in written[0]!.body, false)
    assert.deepEqual([b.infos.length, b.said], [1, []])
  })

  test('has a note within the limit of the API server, without secrets and with its end', async () => {
    const b = new Bench()
    const because = `Bearer abc.def ${'’'.repeat(2_000)}`
    b.events.record({ reason: 'CannotGoOn', epoch: 7, code: 'identity_taken', because })
    const [event] = await b.take()
    const { note } = event!.body
    assert.ok(
      Buffer.byteLength(note) <= 1_024 && Buffer.byteLength(note) > 1_010,
      String(Buffer.byteLength(note)),
    )
    assert.match(
      note,
      /^langflow-0 cannot continue, so its agent exits: Bearer \[redacted\] ’.*[^�]�? \(epoch 7, identity_taken\)$/,
    )
  })
})

describe('a similar Event', () => {
  for (const [what, first, other] of [
    ['in another epoch', DOUBT, { ...DOUBT, epoch: 8 }],
    ['with another code', DOUBT, { ...DOUBT, code: 'deadman' }],
    ['with another reason', DOUBT, ACQUIRED],
    ['with another explanation and no code', REFUSED, { ...REFUSED, because: 'to a: a leads already' }],
  ] as const) {
    test(`${what} is written separately`, async () => {
      const b = new Bench()
      b.events.record(first)
      b.events.record(other)
      assert.deepEqual(kinds(await b.take()), ['Pod', 'Lease', 'Pod', 'Lease'])
    })
  }

  test('is dropped while an equal one waits, and written afterwards', async () => {
    const b = new Bench()
    b.events.record(DOUBT)
    b.events.record({ ...DOUBT, because: 'in other words' })
    assert.deepEqual(kinds(await b.take()), ['Pod', 'Lease'])
    b.events.record(DOUBT)
    assert.deepEqual(kinds(await b.take()), ['Pod', 'Lease'])
  })
})

describe('an API server', () => {
  test('that forbids Events gets each one once, and the log reports this once', async () => {
    const b = new Bench()
    b.answer = 'forbidden'
    b.events.record(ACQUIRED)
    b.events.record(DOUBT)
    assert.equal((await b.take(10 * MINUTES)).length, 4)
    assert.deepEqual(b.said, ['cannot write Events: it is forbidden'])
    // The right takes effect without a restart.
    b.answer = 'ok'
    b.events.record(DOUBT)
    assert.deepEqual(kinds(await b.take()), ['Pod', 'Lease'])
  })

  test('that is away gets each Event when it is back, with the time of the event', async () => {
    const b = new Bench()
    b.answer = 'timeout'
    const time = new Date(b.clock.now().wall).toISOString().replace('Z', '000Z')
    b.events.record(DOUBT)
    assert.equal((await b.take(60_000)).length, 13)
    b.answer = 'ok'
    const written = await b.take(5_000)
    assert.deepEqual(kinds(written), ['Pod', 'Lease'])
    assert.equal(written[0]!.body.eventTime, time)
    assert.deepEqual(b.said, [])
  })

  test('that stays away does not get Events older than five minutes', async () => {
    const b = new Bench()
    b.answer = 'network'
    b.events.record(DOUBT)
    await b.take(6 * MINUTES)
    b.answer = 'ok'
    assert.deepEqual(await b.take(10 * MINUTES), [])
    assert.deepEqual(b.said, ['cannot write Events: it is network'])
  })

  test('that already has an Event, because its answer was lost, does not get it again', async () => {
    const b = new Bench()
    b.answer = 'timeout'
    b.events.record(DOUBT)
    await b.take()
    b.answer = 'already_exists'
    assert.deepEqual(kinds(await b.take(10 * MINUTES)), ['Pod', 'Lease'])
    assert.deepEqual(b.said, [])
  })

  test('gets at most 20 Events in a burst, then six a minute', async () => {
    const b = new Bench()
    for (let epoch = 0; epoch < 20; epoch++) b.events.record({ ...DOUBT, epoch })
    assert.equal((await b.take(1)).length, 20)
    assert.equal((await b.take(MINUTES)).length, 6)
    assert.equal((await b.take(3 * MINUTES)).length, 14)
    await b.take(10 * MINUTES)
    for (let epoch = 20; epoch < 40; epoch++) b.events.record({ ...DOUBT, epoch })
    assert.equal((await b.take(1)).length, 20)
  })

  test('that does not answer gets at most 64 Events when it is back', async () => {
    const b = new Bench()
    const { promise, resolve } = Promise.withResolvers<void>()
    b.answer = promise
    for (let epoch = 0; epoch < 100; epoch++) b.events.record({ ...DOUBT, epoch })
    b.answer = 'ok'
    resolve()
    const told = await b.take(60 * MINUTES)
    assert.equal(told.length, 64)
    assert.equal(told.at(-1)?.body.metadata.annotations['langflow-leader/epoch'], '31')
    // The queue has room again.
    b.events.record({ ...DOUBT, epoch: 100 })
    assert.equal((await b.take()).length, 2)
  })
})

describe('the end of the agent', () => {
  test('waits until the last Event is written', async () => {
    const b = new Bench()
    const { promise, resolve } = Promise.withResolvers<void>()
    b.answer = promise
    b.events.record(ACQUIRED)
    const end = b.events.end()
    await b.take()
    assert.deepEqual(b.closed, [])
    b.answer = 'ok'
    resolve()
    await end
    assert.equal((await b.take()).length, 1)
    assert.deepEqual(b.closed, ['team', 'team'])
    assert.equal(b.clock.next(), Number.POSITIVE_INFINITY, 'no timer may keep the process alive')
  })

  test('waits at most two seconds', async () => {
    const b = new Bench()
    b.answer = 'network'
    b.events.record(ACQUIRED)
    let ended = false
    void b.events.end().then(() => {
      ended = true
    })
    await b.take(1_999)
    assert.equal(ended, false)
    await b.take(1)
    assert.equal(ended, true)
    assert.equal(b.clock.next(), Number.POSITIVE_INFINITY)
    assert.deepEqual(await b.take(10 * MINUTES), [])
  })
})
