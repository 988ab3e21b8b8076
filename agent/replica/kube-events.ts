import { randomBytes } from 'node:crypto'
import { type Clock, pause } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { Kind } from '../kube/kube-errors.ts'
import type { KubeObjects, WrittenObject } from '../kube/kube-objects.ts'
import { microTime } from '../lease/lease.ts'
import type { ReasonCode } from '../lease/reasons.ts'
import type { LogThrottle } from '../observe/log.ts'
import { redactText } from '../redaction.ts'

const EVENT: Kind = { kind: 'Event', resource: 'events.events.k8s.io', base: '/apis/events.k8s.io/v1' }

export type EventsApi = Pick<KubeObjects, 'namespace' | 'write' | 'close'>
export type Events = Pick<KubeEvents, 'record' | 'end'>

export interface KubeEventsOptions {
  readonly options: Pick<AgentOptions, 'identity'> & {
    readonly pod: Pick<AgentOptions['pod'], 'name' | 'uid'>
  }
  /** The objects in this pod's own namespace. */
  readonly api: EventsApi
  readonly clock: Clock
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
}

const DEADLINE_MS = 5_000
/** While this many requests are in flight, further Events are dropped, so that a flapping replica is no burden. */
const MOST_IN_FLIGHT = 20
const FAREWELL_MS = 2_000

/**
 * Writes Kubernetes Events on this replica's pod, if it runs in one. Nothing waits for them: they use their own
 * connection. An Event that cannot be written now is dropped, and counted in the log.
 */
export class KubeEvents {
  private readonly options: KubeEventsOptions
  private readonly inFlight = new Set<Promise<void>>()

  constructor(options: KubeEventsOptions) {
    this.options = options
  }

  record(what: ReplicaEvent): void {
    const { options, api, clock, repeats } = this.options
    const { name, uid } = options.pod
    if (name === null || uid === null) return
    if (this.inFlight.size >= MOST_IN_FLIGHT) {
      repeats.happened('events', `dropped Events: ${MOST_IN_FLIGHT} are being written`)
      return
    }
    const pod = { namespace: api.namespace, name, uid }
    const event = eventOf(what, pod, options.identity, clock.now().wall)
    const write: Promise<void> = api
      .write('create', EVENT, event, DEADLINE_MS)
      .then(() => repeats.over('events', 'Events are written again'))
      .catch(({ message }: Error) => repeats.happened('events', `cannot write Events: ${message}`))
      .finally(() => this.inFlight.delete(write))
    this.inFlight.add(write)
  }

  async end(): Promise<void> {
    const written = Promise.all(this.inFlight).then(() => {})
    const { api, clock } = this.options
    await pause(clock, FAREWELL_MS, written)
    api.close()
  }
}

/** By `reason`, which never changes: type, `action` and text. */
export const EVENT_REASONS = {
  LeaderAcquired: ['Normal', 'Acquire', 'acquired the Lease'],
  Serving: ['Normal', 'OpenGate', 'serves: LangFlow is healthy, and the gate is open'],
  LeadershipInDoubt: ['Warning', 'CloseGate', 'froze or stopped LangFlow: its leadership is in doubt'],
  LeadershipLost: ['Warning', 'Kill', 'killed LangFlow, because its Lease was lost or about to expire'],
  SteppedDown: ['Normal', 'Release', 'stopped LangFlow and released the Lease'],
  LedByConsent: ['Warning', 'Consent', 'led without the API server, by consent of its members'],
  RestartedInPlace: ['Warning', 'Restart', 'restarts LangFlow in place'],
  StopFailed: ['Warning', 'Keep', 'keeps the Lease, because LangFlow processes may be alive'],
  ContentRefused: ['Warning', 'Keep', 'does not use the changed files that LangFlow starts from'],
  CannotGoOn: ['Warning', 'End', 'cannot continue, so its agent exits'],
} as const satisfies Record<string, readonly ['Normal' | 'Warning', string, string]>

export type EventReason = keyof typeof EVENT_REASONS

export interface ReplicaEvent {
  readonly reason: EventReason
  readonly epoch: number
  readonly code?: ReasonCode | undefined
  readonly because?: string | undefined
}

/** The API server accepts 1,024 bytes. A character may take three. */
const NOTE_LENGTH = 340

function eventOf(
  what: ReplicaEvent,
  pod: Record<'namespace' | 'name' | 'uid', string>,
  identity: string,
  wallMs: number,
): WrittenObject {
  const { reason, epoch, code, because } = what
  const [type, action, words] = EVENT_REASONS[reason]
  const why = because === undefined ? '' : `: ${because}`
  const term = code === undefined ? `(epoch ${epoch})` : `(epoch ${epoch}, ${code})`
  return {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: `${pod.name}.${randomBytes(8).toString('hex')}`, namespace: pod.namespace },
    eventTime: microTime(wallMs),
    reportingController: 'langflow-leader',
    reportingInstance: identity,
    action,
    reason,
    type,
    note: `${redactText(`${pod.name} ${words}${why}`).slice(0, NOTE_LENGTH - term.length)} ${term}`,
    regarding: { apiVersion: 'v1', kind: 'Pod', ...pod },
  }
}
