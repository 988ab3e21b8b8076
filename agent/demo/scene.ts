import type { Clock } from '../clock.ts'
import type { Happening } from './journal.ts'
import { newView, type ReplicaView, sentenceOf, viewAfter } from './replica-view.ts'
import { KINDS, type Kind, type Takeover } from './takeover.ts'

/** What is told as it happens. */
export interface Told {
  /** Milliseconds since the demo began. */
  readonly atMs: number
  readonly replica: string | null
  readonly text: string
  /** Begins something new. */
  readonly heading: boolean
}

export interface Step {
  readonly kind: Kind
  readonly state: 'to come' | 'now' | 'done'
}

/** All that is there to be shown, whoever shows it. */
export class Scene {
  readonly replicas: Map<string, ReplicaView>
  /** Of the front door. */
  readonly url: string
  readonly takeovers: Takeover[] = []
  readonly told: Told[] = []
  /** What is being waited for, as one sentence. */
  doing = 'starting'
  /** The fault under way. */
  current: Kind | null = null
  readonly #clock: Clock
  readonly #began: number
  readonly #heard: (told: Told) => void

  constructor(names: readonly string[], url: string, clock: Clock, heard: (told: Told) => void) {
    this.replicas = new Map(names.map((name) => [name, newView(name)]))
    this.url = url
    this.#clock = clock
    this.#began = clock.mono()
    this.#heard = heard
  }

  get elapsedMs(): number {
    return this.#clock.mono() - this.#began
  }

  get steps(): Step[] {
    const done = new Set(this.takeovers.map(({ kind }) => kind))
    return KINDS.map((kind) => ({
      kind,
      state: this.current === kind ? 'now' : done.has(kind) ? 'done' : 'to come',
    }))
  }

  tell(text: string, replica: string | null = null): void {
    this.#add({ atMs: this.elapsedMs, replica, text, heading: false })
  }

  announce(text: string): void {
    this.#add({ atMs: this.elapsedMs, replica: null, text, heading: true })
  }

  /** Takes an event of a replica's log. */
  happened(happening: Happening): void {
    const { replica } = happening
    this.change(replica, (view) => viewAfter(view, happening))
    const text = sentenceOf(happening)
    if (text !== null) this.tell(text, replica)
  }

  change(replica: string, by: (view: ReplicaView) => ReplicaView): void {
    const view = this.replicas.get(replica)
    if (view !== undefined) this.replicas.set(replica, by(view))
  }

  #add(told: Told): void {
    this.told.push(told)
    this.#heard(told)
  }
}
