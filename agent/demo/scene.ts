import type { Happening } from './journal.ts'
import { newView, type ReplicaView, sentenceOf, viewAfter } from './replica-view.ts'
import { KINDS, type Kind, type Takeover } from './takeover.ts'

/** What is told as it happens. */
export interface Told {
  /** Milliseconds since the demo began. */
  readonly atMs: number
  readonly replica: string | null
  readonly text: string
}

export interface Step {
  readonly kind: Kind
  readonly state: 'to come' | 'now' | 'done'
}

/** All that is there to be shown, whoever shows it. */
export class Scene {
  readonly replicas: Map<string, ReplicaView>
  readonly takeovers: Takeover[] = []
  readonly told: Told[] = []
  /** What is being waited for, as one sentence. */
  doing = 'starting'
  url = ''
  /** The fault under way. */
  current: Kind | null = null
  readonly #elapsed: () => number
  readonly #heard: (told: Told) => void

  constructor(names: readonly string[], elapsed: () => number, heard: (told: Told) => void) {
    this.replicas = new Map(names.map((name) => [name, newView(name)]))
    this.#elapsed = elapsed
    this.#heard = heard
  }

  get elapsedMs(): number {
    return this.#elapsed()
  }

  get steps(): Step[] {
    const done = new Set(this.takeovers.map(({ kind }) => kind))
    return KINDS.map((kind) => ({
      kind,
      state: this.current === kind ? 'now' : done.has(kind) ? 'done' : 'to come',
    }))
  }

  tell(text: string, replica: string | null = null): void {
    const told = { atMs: this.#elapsed(), replica, text }
    this.told.push(told)
    this.#heard(told)
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
}
