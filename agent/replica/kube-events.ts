import { randomBytes } from 'node:crypto'
import { type Clock, pause } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { Kind, KubeObjects, WrittenObject } from '../kube/kube-objects.ts'
import { microTime } from '../lease/lease.ts'
import type { ReasonCode } from '../lease/reasons.ts'
import type { Log, LogThrottle } from '../observe/log.ts'
import { redactText } from '../redaction.ts'

const EVENT: Kind = { kind: 'Event', resource: 'events.events.k8s.io', base: '/apis/events.k8s.io/v1' }

export type EventsApi = Pick<KubeObjects, 'namespace' | 'create' | 'close'>
export type Events = Pick<KubeEvents, 'record' | 'end'>

export interface KubeEventsOptions {
  readonly options: Pick<AgentOptions, 'identity' | 'leaseName'> & {
    readonly pod: Pick<AgentOptions['pod'], 'name' | 'uid'>
  }
  /** The objects in this pod's own namespace, or in the Lease's. */
  readonly objects: (around: 'pod' | 'lease') => EventsApi
  /** `undefined`: the Lease was not seen yet. */
  readonly leaseUid: () => string | undefined
  readonly clock: Clock
  readonly log: Pick<Log, 'info'>
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
}

/** Timeout of one request. */
const DEADLINE_MS = 5_000
/** While this many requests are in flight, further Events are dropped, so that a flapping replica is no burden. */
const MOST_IN_FLIGHT = 20
/** How long the end of the process waits for Events in flight. */
const FAREWELL_MS = 2_000

/**
 * Writes Kubernetes Events on this replica's pod and on the Lease. Nothing waits for them: they use their own
 * connections. An Event that cannot be written now is dropped, and the log counts the dropped ones.
 */
export class KubeEvents {
  private readonly options: KubeEventsOptions
  private readonly leaseApi: EventsApi
  private readonly podApi: EventsApi
  private readonly inFlight = new Set<Promise<void>>()

  constructor(options: KubeEventsOptions) {
    const { pod } = options.options
    this.options = options
    this.leaseApi = options.objects('lease')
    const podApi = options.objects('pod')
    // One connection is enough if both are in one namespace.
    this.podApi = podApi.namespace === this.leaseApi.namespace ? this.leaseApi : podApi
    if (pod.name === null || pod.uid === null)
      options.log.info('Events are written for the Lease only: POD_NAME and POD_UID are not set')
  }

  record(what: ReplicaEvent): void {
    const { leaseApi, podApi } = this
    const { options, leaseUid } = this.options
    const { name, uid } = options.pod
    const ofLease: Reference = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      namespace: leaseApi.namespace,
      name: options.leaseName,
      uid: leaseUid(),
    }
    if (name === null || uid === null) this.send(what, leaseApi, ofLease, null)
    else {
      const ofPod: Reference = { apiVersion: 'v1', kind: 'Pod', namespace: podApi.namespace, name, uid }
      this.send(what, podApi, ofPod, ofLease)
      this.send(what, leaseApi, ofLease, ofPod)
    }
  }

  /** Resolves when everything is written, or the time for that is over. */
  async end(): Promise<void> {
    const written = Promise.all(this.inFlight).then(() => {})
    await pause(this.options.clock, FAREWELL_MS, written)
    this.podApi.close()
    this.leaseApi.close()
  }

  private send(what: ReplicaEvent, api: EventsApi, regarding: Reference, related: Reference | null): void {
    const { options, clock, repeats } = this.options
    if (this.inFlight.size >= MOST_IN_FLIGHT) {
      repeats.happened('events', `dropped Events: ${MOST_IN_FLIGHT} are being written`)
      return
    }
    const event = eventOf(what, options.identity, clock.now().wall, regarding, related)
    const write: Promise<void> = api
      .create(EVENT, event, DEADLINE_MS)
      .then(() => repeats.over('events', 'Events are written again'))
      .catch(({ message }: Error) => repeats.happened('events', `cannot write Events: ${message}`))
      .finally(() => this.inFlight.delete(write))
    this.inFlight.add(write)
  }
}

type EventType = 'Normal' | 'Warning'

/** The Events of a replica: the `reason`, which never changes, its type, its `action`, and the text. */
export const EVENT_REASONS = {
  LeaderAcquired: ['Normal', 'Acquire', 'acquired the Lease'],
  Serving: ['Normal', 'OpenGate', 'serves: LangFlow is healthy, and the gate is open'],
  LeadershipInDoubt: [
    'Warning',
    'CloseGate',
    'froze or stopped LangFlow, because its leadership is in doubt',
  ],
  LeadershipLost: ['Warning', 'Kill', 'killed LangFlow, because its Lease was lost or about to expire'],
  SteppedDown: ['Normal', 'Release', 'stopped LangFlow and released the Lease'],
  RestartedInPlace: ['Warning', 'Restart', 'restarts LangFlow in place'],
  DeadmanFired: ['Warning', 'Kill', 'received no grant in time, so its launcher stopped LangFlow'],
  StopFailed: ['Warning', 'Keep', 'keeps the Lease, because LangFlow processes may be alive'],
  GrantRefused: ['Warning', 'Grant', 'cannot start LangFlow'],
  ContentRefused: ['Warning', 'Keep', 'does not use the changed files that LangFlow starts from'],
  StandbyColder: ['Warning', 'Prepare', 'has a standby that is colder than configured'],
  Paused: ['Normal', 'Pause', 'starts no takeover and no failed LangFlow, because an operator has paused it'],
  Resumed: ['Normal', 'Resume', 'permits takeovers again, because the pause is over'],
  SwitchoverRefused: ['Warning', 'Refuse', 'refused an operator’s request'],
  CannotGoOn: ['Warning', 'End', 'cannot continue, so its agent exits'],
} as const satisfies Record<string, readonly [EventType, string, string]>

export type EventReason = keyof typeof EVENT_REASONS

export interface ReplicaEvent {
  readonly reason: EventReason
  readonly epoch: number
  readonly code?: ReasonCode | undefined
  /** The cause, in one sentence. */
  readonly because?: string | undefined
  /** A type other than the usual one. */
  readonly type?: EventType | undefined
}

/** The object of an Event, in the terms of the API. */
interface Reference {
  readonly apiVersion: string
  readonly kind: 'Pod' | 'Lease'
  readonly namespace: string
  readonly name: string
  /** `undefined`: unknown, and not sent. */
  readonly uid: string | undefined
}

/** The API server's limit. */
const NOTE_BYTES = 1_024
const INSTANCE_LENGTH = 128
/** A name may have 253 characters. The unique part follows after these. */
const NAME_LENGTH = 200

/** An Event of `events.k8s.io/v1`. `wallMs`: time of the occurrence. */
function eventOf(
  { reason, epoch, code, because, type }: ReplicaEvent,
  identity: string,
  wallMs: number,
  regarding: Reference,
  related: Reference | null,
): WrittenObject {
  const [usually, action, words] = EVENT_REASONS[reason]
  const who = [regarding, related].find((one) => one?.kind === 'Pod')?.name ?? identity
  const why = because === undefined ? '' : `: ${because}`
  const term = code === undefined ? `epoch ${epoch}` : `epoch ${epoch}, ${code}`
  const name = regarding.name.slice(0, NAME_LENGTH).replace(/[^a-z0-9]+$/, '')
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: {
      name: `${name}.${randomBytes(8).toString('hex')}`,
      namespace: regarding.namespace,
      annotations: {
        'langflow-leader/epoch': String(epoch),
        ...(code !== undefined && { 'langflow-leader/code': code }),
      },
    },
    eventTime: microTime(wallMs),
    reportingController: 'langflow-leader',
    reportingInstance: identity.slice(0, INSTANCE_LENGTH),
    action,
    reason,
    type: type ?? usually,
    note: cut(redactText(`${who} ${words}${why}`), ` (${term})`),
    regarding,
    ...(related !== null && { related }),
  }
}

/** Shortens a note to the allowed length. Its end is always kept. */
function cut(text: string, end: string): string {
  const bytes = Buffer.from(text)
  const most = NOTE_BYTES - Buffer.byteLength(end)
  if (bytes.length <= most) return text + end
  // A character that is cut in two becomes one of three bytes.
  return bytes.subarray(0, most - 3).toString() + end
}
