import { randomBytes } from 'node:crypto'
import { microTime } from '../kube/micro-time.ts'
import type { ReasonCode } from '../lease/reasons.ts'
import { redactText } from '../observe/redact.ts'

type EventType = 'Normal' | 'Warning'

/** What may happen to a replica: the `reason` of the Event, which never changes, its type, its `action`, and words. */
export const HAPPENINGS = {
  LeaderAcquired: ['Normal', 'Acquire', 'acquired the Lease'],
  Serving: ['Normal', 'OpenGate', 'serves: LangFlow is healthy, and the gate is open'],
  LeadershipInDoubt: ['Warning', 'CloseGate', 'closed the gate: its leadership is in doubt'],
  LeadershipLost: ['Warning', 'Kill', 'lost the Lease, and killed LangFlow'],
  SteppedDown: ['Normal', 'Release', 'stopped LangFlow, and gave the Lease back'],
  RestartedInPlace: ['Warning', 'Restart', 'restarts LangFlow in its term'],
  DeadmanFired: ['Warning', 'Kill', 'got no grant in time, and its launcher ended LangFlow by itself'],
  StopFailed: ['Warning', 'Keep', 'keeps the Lease, since something of LangFlow may live'],
  GrantRefused: ['Warning', 'Grant', 'cannot have LangFlow started'],
  StandbyColder: ['Warning', 'Prepare', 'has a standby that is colder than wanted'],
  Paused: ['Normal', 'Pause', 'starts no takeover, and leaves LangFlow alone: an operator has paused it'],
  Resumed: ['Normal', 'Resume', 'goes on: it is paused no more'],
  SwitchoverRefused: ['Warning', 'Refuse', 'refused a switchover'],
  CannotGoOn: ['Warning', 'End', 'ends'],
} as const satisfies Record<string, readonly [EventType, string, string]>

export type HappeningReason = keyof typeof HAPPENINGS

export interface Happening {
  readonly reason: HappeningReason
  readonly epoch: number
  readonly code?: ReasonCode | undefined
  /** Why, in one sentence. */
  readonly because?: string | undefined
  /** Other than it usually is. */
  readonly type?: EventType | undefined
}

/** Whom an Event is about, in the words of the API. */
export interface Reference {
  readonly apiVersion: string
  readonly kind: 'Pod' | 'Lease'
  readonly namespace: string
  readonly name: string
  readonly uid?: string
}

export interface KubeEvent {
  readonly metadata: { readonly name: string; readonly [field: string]: unknown }
  readonly [field: string]: unknown
}

/** What the API server takes at most. */
export const NOTE_BYTES = 1_024
const INSTANCE_LENGTH = 128
/** A name may have 253 characters; what makes it unique comes after these. */
const NAME_LENGTH = 200

/** As an Event of `events.k8s.io/v1`. `wallMs`: when it happened. */
export function eventOf(
  { reason, epoch, code, because, type }: Happening,
  identity: string,
  wallMs: number,
  regarding: Reference,
  related: Reference | null,
): KubeEvent {
  const [usually, action, words] = HAPPENINGS[reason]
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

/** Within what a note may have, its end in any case. */
function cut(text: string, end: string): string {
  const bytes = Buffer.from(text)
  const most = NOTE_BYTES - Buffer.byteLength(end)
  if (bytes.length <= most) return text + end
  // A character that is cut in two becomes one of three bytes.
  return bytes.subarray(0, most - 3).toString() + end
}
