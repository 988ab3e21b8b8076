import { inability, versionFault } from '../../agent/election/eligibility.ts'
import type { CandidateConfig, Effect, Fact, Workload, Write } from '../../agent/election/state.ts'
import type { ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import { epochOf, holderOf, type Lease, type LeaseSpec } from '../../agent/lease/lease.ts'
import { HISTORY, historyOf } from '../../agent/lease/lease-history.ts'
import type { ContentView } from '../../agent/link/link-messages.ts'
import { Candidate, failure, heldBy, leaseOf, noted, released } from './candidate.ts'

/*
 * A script has scenarios of one or more candidates. Each line is one input. The indented lines below it are the effects
 * that followed, with the time since the input, and the parts of the state that changed. The inputs:
 *
 * - `follower`, `leader`, `candidate` creates a replica, with a configuration such as `standby=warm`. A leader is in
 *   epoch 4. `replica 1` continues with an earlier one.
 * - `pass 2s` lets time pass. `wait 2s` does so while the API server answers each read, and `renews 2s` while it
 *   acknowledges each write. `clock wall=3600s` moves one clock alone.
 * - `lease held v=10` shows a version of the Lease: `held by=POD`, `released by=POD`, `empty`, `absent`, `edited` (as last
 *   seen, with changes), `committed` (as a write left it). Further words: `holder`, `duration`, `acquired`, `renewed`,
 *   `epoch`, `uid`, `note.KEY` for an annotation, `read` for the answer to a read.
 * - `ack`, `fail CODE`, `answer` and `written` are answers to a write. `write=2.7` is the seventh write of replica 2.
 * - Every other input is a fact of `agent/election/state.ts`, such as `workload alive=no` or `drained`.
 */

const NOTE = 'langflow-leader/'
/** Fields of the spec, under the names that scripts use. */
const SPEC = {
  holder: 'holderIdentity',
  duration: 'leaseDurationSeconds',
  acquired: 'acquireTime',
  renewed: 'renewTime',
  epoch: 'leaseTransitions',
} as const

const CONTENT: ContentView = {
  digest: 'c1',
  since: 0,
  running: 'c1',
  startedAt: 0,
  earlier: [],
  problem: null,
  unfit: false,
}

type Args = Readonly<Record<string, unknown>>

/** Plays a script, and returns it with the outcome below each input. */
export function play(script: string): string {
  const stage = new Stage()
  const inputs = script.split('\n').filter((line) => !line.startsWith('  '))
  return inputs.flatMap((line) => [line, ...stage.play(line).map((outcome) => `  ${outcome}`)]).join('\n')
}

class Stage {
  private candidates: Candidate[] = []
  private at = 0
  private shown: Readonly<Record<string, unknown>> = {}
  private readonly writes = new Map<string, Write>()

  play(line: string): string[] {
    if (line.startsWith('# ')) {
      this.candidates = []
      return []
    }
    const words = [...line.matchAll(/(?:[^\s"{[]|"(?:[^"\\]|\\.)*"|\{.*?\}(?=\s|$)|\[.*?\](?=\s|$))+/g)].map(
      ([word]) => word,
    )
    const [command = '', ...rest] = words
    if (command === '' || command.startsWith('//')) return []
    const plain = rest.filter((word) => !word.includes('='))
    const args = Object.fromEntries(rest.filter((word) => word.includes('=')).map(argument))
    return this.outcome(() => this.run(command, plain, args))
  }

  private get c(): Candidate {
    const c = this.candidates[this.at]
    if (c === undefined) throw new Error('a script begins with a candidate')
    return c
  }

  private run(command: string, plain: readonly string[], args: Args): void {
    const [first = ''] = plain
    switch (command) {
      case 'candidate':
      case 'follower':
      case 'leader':
        this.at = this.candidates.length
        this.candidates.push(command === 'candidate' ? new Candidate(args) : Candidate[command](args))
        return
      case 'replica':
        this.at = Number(first) - 1
        return
      case 'pass':
        return void this.c.pass(milliseconds(first))
      case 'wait':
        return void this.c.wait(milliseconds(first))
      case 'renews':
        for (const until = this.c.mono + milliseconds(first); this.c.mono < until; ) {
          this.c.pass(Math.min(100, until - this.c.mono))
          if (this.c.state.pending !== null) this.c.acknowledge()
        }
        return
      case 'clock':
        this.c.bootAhead += milliseconds(String(args.boot ?? '0'))
        this.c.wallAhead += milliseconds(String(args.wall ?? '0'))
        this.c.mono += milliseconds(String(args.mono ?? '0'))
        return
      case 'lease':
        return void this.c.sees(this.lease(plain, args), plain.includes('read'))
      case 'workload':
        return void this.c.workload(this.workload(args))
      case 'ack':
        return void this.c.acknowledge(this.write(args))
      case 'fail':
        return void this.c.fail(first as ApiErrorCode, this.write(args))
      case 'written': {
        const { id, ...more } = args
        return void this.c.dispatch({
          type: 'written',
          id: this.named(String(id)).id,
          lease: this.lease(plain, more) as Lease,
        })
      }
      case 'answer':
        return void this.c.answers(answerOf(args))
      default:
        this.c.dispatch(this.fact(command, first, args))
    }
  }

  /** `content.digest=c2` changes one field of the content. */
  private workload(args: Args): Partial<Workload> {
    const flat = Object.entries(times(args, this.c.mono))
    const [content, others] = [true, false].map((is) =>
      flat.filter(([key]) => key.startsWith('content.') === is),
    )
    const before = this.c.state.workload.content ?? CONTENT
    const changed = Object.fromEntries(content?.map(([key, value]) => [key.slice(8), value]) ?? [])
    const more = content?.length ? { content: { ...before, ...changed } } : {}
    return { ...Object.fromEntries(others ?? []), ...more }
  }

  private write({ write }: Args): Write {
    return write === undefined ? this.c.write : this.named(String(write))
  }

  /** `2.7`: the seventh write of the second candidate. */
  private named(name: string): Write {
    const full = name.includes('.') ? name : `${this.at + 1}.${name}`
    const write = this.writes.get(full)
    if (write === undefined) throw new Error(`write ${full} was not sent`)
    return write
  }

  private lease([kind = '']: readonly string[], args: Args): Lease | null {
    const { v, uid, write, ...more } = args
    const version = Number(v ?? 0)
    const notes = Object.entries(more).filter(([key]) => key.startsWith('note.'))
    const spec: LeaseSpec = Object.fromEntries(
      Object.entries(SPEC).flatMap(([key, field]) => (key in more ? [[field, more[key]]] : [])),
    )
    const base = this.base(kind, { spec, version, write, by: String(more.by ?? 'other') })
    if (base === null) return null
    const metadata = { ...base.metadata, ...(v !== undefined && { resourceVersion: String(v) }) }
    const changed = { ...base, metadata: { ...metadata, ...(uid !== undefined && { uid: String(uid) }) } }
    return notes.length === 0
      ? changed
      : noted(
          changed,
          Object.fromEntries(notes.map(([key, value]) => [fullNote(key.slice(5)), textOf(value)])),
        )
  }

  private base(
    kind: string,
    { spec, version, write, by }: { spec: LeaseSpec; version: number; write: unknown; by: string },
  ): Lease | null {
    switch (kind) {
      case 'absent':
        return null
      case 'empty':
        return leaseOf(spec, version)
      case 'held':
        return heldBy(by, version, spec)
      case 'released':
        return released(version, by, spec)
      case 'committed': {
        const lease = this.owner(write).commit(write === undefined ? undefined : this.named(String(write)))
        return { ...lease, spec: { ...lease.spec, ...spec } }
      }
      default: {
        const lease = this.c.state.seen?.lease
        if (kind !== 'edited' || !lease) throw new Error(`the Lease "${kind}" is unknown`)
        return { ...lease, spec: { ...lease.spec, ...spec } }
      }
    }
  }

  private owner(write: unknown): Candidate {
    const name = String(write ?? '')
    return name.includes('.') ? (this.candidates[Number(name.split('.')[0]) - 1] ?? this.c) : this.c
  }

  private fact(type: string, first: string, args: Args): Fact {
    const error = first === '' ? null : failure(first as ApiErrorCode)
    if (type === 'rehearsed' || type === 'read_failed') return { type, error } as Fact
    if (type === 'write_failed') return { type, id: this.c.write.id, error } as Fact
    return { type, ...times(args, this.c.mono) } as unknown as Fact
  }

  /** Runs an input, and describes what followed. */
  private outcome(run: () => void): string[] {
    const before = this.candidates[this.at]
    const [from, count] = [before?.mono ?? 0, before?.log.length ?? 0]
    run()
    const { c } = this
    const isSame = c === before
    const lines: string[] = []
    for (const { effect, mono } of c.log.slice(isSame ? count : 0)) {
      if (effect.type === 'write') this.writes.set(`${this.at + 1}.${effect.write.id}`, effect.write)
      const after = isSame && mono > from ? `+${seconds(mono - from)} ` : ''
      lines.push(`${after}${describeEffect(effect, c.config, mono)}`)
    }
    const shown = shownOf(c)
    const changes = Object.entries(shown).filter(([key, value]) => value !== this.shown[key])
    this.shown = shown
    return isSame ? [...folded(lines), ...changes.map(([key, value]) => `${key}: ${value ?? '-'}`)] : []
  }
}

/** The lines, with those that repeat each other named once. */
function folded(lines: readonly string[]): string[] {
  const groups = new Map<string, { first: string; count: number; last: string }>()
  for (const line of lines) {
    const [, offset = '', text = ''] = /^(\+\S+ )?(.*)$/.exec(line) ?? []
    const same = text.replace(/^write \d+|on version \d+/g, '')
    const { first, count } = groups.get(same) ?? { first: line, count: 0 }
    groups.set(same, { first, count: count + 1, last: offset.trim() })
  }
  return [...groups.values()].map(({ first, count, last }) =>
    count === 1 ? first : `${first} (${count} times until ${last})`,
  )
}

/** The parts of the state that a script shows when they change. */
function shownOf({ state, config, now }: Candidate): Readonly<Record<string, unknown>> {
  const { term } = state
  const refused = term?.refusal
  return {
    phase: state.phase,
    epoch: term?.epoch,
    doubt: term?.doubt || undefined,
    stage: term?.stepDown?.stage,
    planned: term?.planned?.why.code,
    'set aside': term?.setAside?.reason,
    refused: refused
      ? `${refused.what} ${refused.to}${refused.open ? ', still in the Lease' : ''}`
      : undefined,
    paused: state.paused,
    failures: state.failures,
    outdated: (term && versionFault(state)) ?? undefined,
    problem: state.writeProblem ?? state.readProblem ?? state.watchProblem ?? undefined,
    unable: term === null ? (inability(config, state, now) ?? undefined)?.replace(/\d+ s/, '… s') : undefined,
    decision: state.decision.replace(/\d+\.\d s/g, '… s'),
  }
}

function describeEffect(effect: Effect, config: CandidateConfig, mono: number): string {
  const { type } = effect
  switch (type) {
    case 'write':
      return describeWrite(effect.write, config)
    case 'grant': {
      const { epoch, doubtAt, killAt } = effect.grant
      return `grant in epoch ${epoch}: doubt in ${seconds(doubtAt.mono - mono)}, kill in ${seconds(killAt.mono - mono)}`
    }
    case 'event': {
      const { event, code, epoch } = effect
      return `event ${event} in epoch ${epoch}${code ? ` (${code})` : ''}`
    }
    case 'read':
      return 'read'
    case 'rehearse':
      return `dry run of ${effect.lease === null ? 'a creation' : 'an update'}`
    case 'drain':
      return `drain for at most ${seconds(effect.drainDeadline - mono)}${effect.graceMs > 0 ? `, streams for ${seconds(effect.graceMs)}` : ''}`
    case 'stop':
      return `stop within ${seconds(effect.graceMs)}`
    case 'restart':
      return `restart (${effect.code})`
    case 'start':
      return `start in epoch ${effect.epoch}`
    case 'exit':
      return `exit ${effect.code}`
    case 'ask':
      return `ask ${effect.asked.map(({ identity }) => identity).join(', ')} for consent within ${seconds(effect.deadlineMs)}`
    case 'answer':
      return effect.answer.agreed ? 'agrees' : `refuses: ${effect.answer.reason}`
    default:
      return type
  }
}

function describeWrite({ id, kind, lease, base }: Write, config: CandidateConfig): string {
  const version = base === null ? 'nothing' : `version ${base.metadata.resourceVersion}`
  const holder = holderOf(lease)
  const name = holder === config.identity || holder === '' ? '' : ` for ${holder}`
  const [before, after] = [base?.metadata.annotations ?? {}, lease.metadata.annotations ?? {}]
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (key) => before[key] !== after[key],
  )
  const notes = keys.map((key) =>
    key === HISTORY
      ? ` history="${describeTerms(lease)}"`
      : after[key] === undefined
        ? ` no ${shortNote(key)}`
        : ` ${shortNote(key)}=${JSON.stringify(after[key])}`,
  )
  return `write ${id}: ${kind}${name} in epoch ${epochOf(lease)} on ${version}${notes.join('')}`
}

function describeTerms(lease: Lease): string {
  const [term] = historyOf(lease)
  if (term === undefined) return ''
  const { epoch, holder, because, phases, gapMs, ended, endedBecause, stopMs, consentMs } = term
  const took = Object.values(phases)
    .map((ms) => ms ?? '-')
    .join('/')
  const consent = consentMs === undefined ? '' : `, by consent ${consentMs}`
  const end = ended === null ? '' : `, ended: ${endedBecause}`
  return `term ${epoch} of ${holder}: ${because}, ${took}, gap ${gapMs ?? '-'}, stop ${stopMs ?? '-'}${consent}${end}`
}

function answerOf(args: Args): Parameters<Candidate['answers']>[0] {
  const { v, ...more } = args
  const spec = Object.fromEntries(
    Object.entries(SPEC).flatMap(([key, field]) => (key in more ? [[field, more[key]]] : [])),
  )
  const notes = Object.entries(more).filter(([key]) => key.startsWith('note.'))
  const annotations = Object.fromEntries(notes.map(([key, value]) => [fullNote(key.slice(5)), String(value)]))
  return {
    spec,
    ...(v !== undefined && { resourceVersion: String(v) }),
    ...((notes.length > 0 || more.notes === 'none') && { annotations }),
  }
}

function argument(word: string): [string, unknown] {
  const at = word.indexOf('=')
  const text = word.slice(at + 1)
  try {
    return [word.slice(0, at), JSON.parse(text)]
  } catch {
    return [word.slice(0, at), text]
  }
}

/** `+9s` in a field is a monotonic time from now. */
function times(args: Args, mono: number): Args {
  return Object.fromEntries(
    Object.entries(args).map(([key, value]) => [
      key,
      typeof value === 'string' && /^[+-][\d.]+s$/.test(value) ? mono + milliseconds(value) : value,
    ]),
  )
}

function textOf(value: unknown): string | null {
  return value === null || typeof value === 'string' ? value : JSON.stringify(value)
}

function milliseconds(text: string): number {
  return Math.round(Number.parseFloat(text) * 1000)
}

function seconds(ms: number): string {
  return `${Math.round(ms) / 1000}s`
}

function fullNote(key: string): string {
  return key.startsWith('.') ? key.slice(1) : NOTE + key
}

function shortNote(key: string): string {
  return key.startsWith(NOTE) ? key.slice(NOTE.length) : `.${key}`
}
