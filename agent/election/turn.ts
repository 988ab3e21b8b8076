import type { Instant } from '../clock.ts'
import type { EventName } from '../observe/events.ts'
import { killAt } from './deadlines.ts'
import { prepareWrite } from './lease-writes.ts'
import type { CandidateConfig, Effect, ElectionState, Fact, Term, Transition, WriteKind } from './state.ts'

/** One transition in the making. It lives only inside one call of `transition`. */
export class Turn {
  readonly config: CandidateConfig
  readonly fact: Fact
  readonly now: Instant
  state: ElectionState
  private readonly effects: Effect[] = []
  private decision = ''
  private wakeAt = Number.POSITIVE_INFINITY

  constructor(config: CandidateConfig, state: ElectionState, fact: Fact, now: Instant) {
    this.config = config
    this.state = state
    this.fact = fact
    this.now = now
  }

  set(patch: Partial<ElectionState>): void {
    this.state = { ...this.state, ...patch }
  }

  setTerm(patch: Partial<Term>): void {
    if (this.state.term !== null) this.set({ term: { ...this.state.term, ...patch } })
  }

  emit(effect: Effect): void {
    if (effect.type === 'kill') {
      if (this.effects.some((other) => other.type === 'kill')) return
      this.set({ killOrdered: true })
    }
    this.effects.push(effect)
  }

  event(event: EventName, reason?: string, detail?: Record<string, string | number | boolean>): void {
    this.emit({
      type: 'event',
      event,
      epoch: this.state.term?.epoch ?? this.state.highestEpoch,
      ...(reason === undefined ? {} : { reason }),
      ...(detail === undefined ? {} : { detail }),
    })
  }

  decide(sentence: string): void {
    this.decision = sentence
  }

  /** Come back at a monotonic time, or earlier. */
  wake(at: number): void {
    this.wakeAt = Math.min(this.wakeAt, at)
  }

  write(kind: WriteKind, because = ''): void {
    const { write, state } = prepareWrite(this.config, this.state, kind, because, this.now)
    this.state = state
    this.emit({ type: 'write', write, deadlineMs: this.requestDeadline() })
  }

  read(): void {
    const { state, now, config } = this
    const nextPollAt = now.mono + config.retryPeriodMs
    this.set({ inFlight: true, readSentAt: now, readAfter: state.seen, nextPollAt })
    this.emit({ type: 'read', deadlineMs: this.requestDeadline() })
  }

  /** The end of leadership without consent: kill first, and never release (rule 3). */
  lose(reason: string): void {
    this.emit({ type: 'kill' })
    this.event('lost', reason)
    this.set({ term: null, nextAttemptAt: this.now.mono })
    this.decide(`lost the Lease: ${reason}`)
  }

  /** Ends this process once nothing is held and nothing lives. */
  end(reason: string, code: 0 | 1): void {
    if (this.state.ending !== null) return
    this.set({ ending: { reason, code } })
    if (code === 1) this.event('fatal', reason)
  }

  finish(): Transition {
    return { state: this.state, effects: this.effects, decision: this.decision, wakeAt: this.wakeAt }
  }

  /**
   * Half the renew deadline, as the Kubernetes components do it, so that two attempts fit; less once that would
   * carry the request past the doubt, where a new connection is worth more than an old answer.
   */
  private requestDeadline(): number {
    const { renewDeadlineMs, retryPeriodMs } = this.config
    const term = this.state.term
    if (term === null) return renewDeadlineMs / 2
    const untilDoubt = term.renewedAt.mono + renewDeadlineMs - this.now.mono
    const untilKill = killAt(this.config, term.renewedAt).mono - this.now.mono
    return Math.min(renewDeadlineMs / 2, Math.max(retryPeriodMs, untilDoubt), Math.max(1, untilKill))
  }
}
