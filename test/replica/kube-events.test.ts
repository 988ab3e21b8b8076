import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ApiError } from '../../agent/kube/kube-errors.ts'
import { LogThrottle } from '../../agent/observe/log.ts'
import { type EventsApi, KubeEvents, type ReplicaEvent } from '../../agent/replica/kube-events.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

interface Body {
  readonly metadata: { readonly namespace: string }
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

/** Events of a replica. The test plays the API server. */
class Bench {
  readonly clock = new VirtualClock()
  readonly written: Written[] = []
  readonly lines: unknown[][] = []
  readonly closed: string[] = []
  readonly events: KubeEvents
  /** The answer of the API server. */
  answer: () => Promise<void> = async () => {}

  constructor({ isPod = true } = {}) {
    const log = { warn: this.log, info: this.log }
    this.events = new KubeEvents({
      options: {
        identity: 'langflow-0_b9d8',
        pod: isPod ? { name: 'langflow-0', uid: 'b9d8' } : { name: null, uid: null },
      },
      api: this.api('pods'),
      clock: this.clock,
      repeats: new LogThrottle(log, this.clock),
    })
  }

  private readonly log = (...line: unknown[]): void => void this.lines.push(line)

  private api(namespace: string): EventsApi {
    const answer = async (name: string, body: object) => {
      this.written.push({ name, body: body as Body })
      await this.answer()
      return { metadata: { name, uid: 'u', resourceVersion: '1' } }
    }
    return {
      namespace,
      write: (_verb, _kind, event) => answer(event.metadata.name, event),
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

describe('a replica’s event', () => {
  test('becomes an Event on its pod', async () => {
    const b = new Bench()
    b.events.record(ACQUIRED)
    const [written, ...more] = await b.take()
    assert.match(written?.name ?? '', /^langflow-0\.[0-9a-f]{16}$/)
    assert.deepEqual(written?.body, {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name: written?.name, namespace: 'pods' },
      eventTime: new Date(b.clock.now().wall).toISOString().replace('Z', '000Z'),
      reportingController: 'langflow-leader',
      reportingInstance: 'langflow-0_b9d8',
      action: 'Acquire',
      reason: 'LeaderAcquired',
      type: 'Normal',
      note: 'langflow-0 acquired the Lease: it was free (epoch 7, released)',
      regarding: { apiVersion: 'v1', kind: 'Pod', namespace: 'pods', name: 'langflow-0', uid: 'b9d8' },
    })
    assert.deepEqual([more, b.lines], [[], []])
  })

  test('is not written outside of a pod', async () => {
    const b = new Bench({ isPod: false })
    b.events.record(ACQUIRED)
    assert.deepEqual([await b.take(), b.lines], [[], []])
  })

  test('has a note within the limit of the API server, without secrets and with its end', async () => {
    const b = new Bench()
    const because = `Bearer abc.def ${'’'.repeat(2_000)}`
    b.events.record({ reason: 'CannotGoOn', epoch: 7, code: 'identity_taken', because })
    const [event] = await b.take()
    const { note } = event!.body
    assert.ok(Buffer.byteLength(note) <= 1_024 && note.length > 300, note)
    assert.match(
      note,
      /^langflow-0 cannot continue, so its agent exits: Bearer \[redacted\] ’* \(epoch 7, identity_taken\)$/,
    )
  })
})

describe('an Event is dropped and counted', () => {
  test('if it cannot be written; the next one is written without a restart', async () => {
    const b = new Bench()
    b.answer = async () => {
      throw new ApiError('forbidden', 'it is forbidden')
    }
    b.events.record(ACQUIRED)
    b.events.record(DOUBT)
    assert.equal((await b.take(60_000)).length, 2)
    b.answer = async () => {}
    b.events.record(DOUBT)
    assert.equal((await b.take()).length, 1)
    const [first, last, ...more] = b.lines
    assert.equal(first?.[0], 'cannot write Events: it is forbidden')
    assert.deepEqual([last?.[1], more], [{ times: 2, lasted: '1m' }, []])
  })

  test('while 20 requests are in flight', async () => {
    const b = new Bench()
    const { promise, resolve } = Promise.withResolvers<void>()
    b.answer = () => promise
    for (let epoch = 0; epoch < 21; epoch++) b.events.record({ ...DOUBT, epoch })
    assert.equal((await b.take()).length, 20)
    resolve()
    await b.take()
    assert.deepEqual(b.lines.at(-1)?.[1], { times: 1, lasted: '0s' })
    b.events.record(DOUBT)
    assert.equal((await b.take()).length, 1)
  })
})

describe('the end of the agent', () => {
  test('waits until the last Event is written', async () => {
    const b = new Bench()
    const { promise, resolve } = Promise.withResolvers<void>()
    b.answer = () => promise
    b.events.record(ACQUIRED)
    const end = b.events.end()
    await b.take()
    assert.deepEqual(b.closed, [])
    resolve()
    await end
    assert.deepEqual(b.closed, ['pods'])
    assert.equal(b.clock.next(), Number.POSITIVE_INFINITY, 'no timer may keep the process alive')
  })

  test('waits at most two seconds', async () => {
    const b = new Bench()
    b.answer = () => new Promise(() => {})
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
  })
})
