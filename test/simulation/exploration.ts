import type { Instant } from '../../agent/clock.ts'
import type { ConsentAnswer, ConsentRequest } from '../../agent/election/consent.ts'
import {
  type CandidateConfig,
  type CandidateState,
  type Effect,
  type Fact,
  initialState,
  type Workload,
} from '../../agent/election/state.ts'
import { transition } from '../../agent/election/transition.ts'
import { ApiError } from '../../agent/kube/kube-errors.ts'
import { epochOf, holderOf, type Lease } from '../../agent/lease/lease.ts'
import { HISTORY } from '../../agent/lease/lease-history.ts'
import { MEMBERS, membersOf } from '../../agent/lease/lease-members.ts'
import { areDeclaredDead, MEMBERS_DEAD } from '../../agent/lease/operator-annotations.ts'
import type { Grant } from '../../agent/link/link-messages.ts'
import { CONFIG, IDLE } from '../election/candidate.ts'

/**
 * Plays every order of at most `faults` faults in `depth` steps of a retry period, on the real step function of each
 * replica. A world that was reached before is not played again.
 */
export interface Bounds {
  readonly replicas: number
  readonly depth: number
  readonly faults: number
  readonly failsafe: boolean
  /** The renew deadline is two thirds of it. Default: 6 s. */
  readonly leaseDurationMs?: number
  /** `--failsafe-max`. Default: 14 s. */
  readonly maxMs?: number
  /** The only faults. Default: all. */
  readonly among?: RegExp
  /** The last replica is reachable by no other at first, so that no leader lists it. The value is its `--failsafe-max`. */
  readonly unlistedMaxMs?: number
  /** The leader has already lost the API server when the faults begin. */
  readonly away?: boolean
}

export interface Explored {
  readonly states: number
  /** The faults of the shortest order that breaks an invariant. */
  readonly violation: { readonly what: string; readonly faults: readonly string[] } | null
}

const STEP_MS = 2_000
const START_MONO = 1_000_000
const WALL_AHEAD = 1_700_000_000_000
const MAX_MS = 14_000
/** A leader is settled, and its members are enrolled. */
const FIRST_FAULT = 4

interface Node {
  readonly config: CandidateConfig
  readonly instance: number
  readonly state: CandidateState
  readonly grant: Grant | null
  /** Its LangFlow executes until the grant ends. */
  readonly runs: boolean
  readonly api: boolean
}

/** A write that has been sent, and not yet committed or lost. */
interface Late {
  readonly from: number
  readonly instance: number
  readonly id: number
  readonly lease: Lease
}

/** A request for consent that has not reached its member, or the answer that has not reached the replica which asked. */
interface LateConsent {
  readonly from: number
  readonly instance: number
  readonly round: number
  readonly identity: string
  readonly sent: { readonly request: ConsentRequest } | { readonly answer: ConsentAnswer | null }
}

interface World {
  readonly mono: number
  readonly nodes: readonly Node[]
  readonly lease: Lease | null
  readonly version: number
  readonly late: readonly Late[]
  readonly consents: readonly LateConsent[]
  /** Pairs of agents that cannot reach each other, such as `01`. */
  readonly cuts: readonly string[]
  readonly faults: readonly string[]
}

type Mode = 'deliver' | 'lose request' | 'lose reply' | 'delay request' | 'delay consent' | 'delay answers'

class Player {
  private world: World
  private readonly modes: ReadonlyMap<number, Mode>
  /** Late requests for consent and late answers arrive in this step. */
  arrive = false
  /** A rule of consent that a replica has broken, by what the model knows. */
  broke: string | null = null

  constructor(world: World, modes: ReadonlyMap<number, Mode>) {
    this.world = world
    this.modes = modes
  }

  get result(): World {
    return this.world
  }

  private get now(): Instant {
    const { mono } = this.world
    return { mono, boot: mono, wall: mono + WALL_AHEAD }
  }

  private node(index: number): Node {
    return this.world.nodes[index] as Node
  }

  private set(index: number, patch: Partial<Node>): void {
    const nodes = this.world.nodes.map((node, at) => (at === index ? { ...node, ...patch } : node))
    this.world = { ...this.world, nodes }
  }

  step(): void {
    this.world = { ...this.world, mono: this.world.mono + STEP_MS }
    for (const [index, node] of this.world.nodes.entries())
      if (node.runs && node.grant !== null && this.world.mono >= node.grant.killAt.mono) this.stopped(index)
    if (this.arrive) this.deliver()
    for (const index of this.world.nodes.keys()) {
      const { state } = this.node(index)
      const { id: round = 0, asked = [], answers = {} } = state.term?.consent.round ?? {}
      for (const { identity } of asked)
        if (answers[identity] === undefined)
          this.dispatch(index, { type: 'consent', round, identity, answer: null })
      // A request without an answer has reached its deadline.
      if (state.pending !== null) this.fail(index, state.pending.id, 'timeout')
      else if (state.inFlight) this.dispatch(index, { type: 'read_failed', error: failure('timeout') })
      this.dispatch(index, { type: 'tick' })
    }
    for (const index of this.world.nodes.keys()) this.enrol(index)
  }

  private deliver(): void {
    const { consents } = this.world
    this.world = { ...this.world, consents: [] }
    for (const { from, instance, round, identity, sent } of consents) {
      const answer = 'answer' in sent ? sent.answer : this.answered(from, identity, sent.request)
      if (this.node(from).instance === instance) this.hear(from, { type: 'consent', round, identity, answer })
    }
  }

  private hear(index: number, fact: Extract<Fact, { type: 'consent' }>): void {
    const { term } = this.node(index).state
    if (term === null) return
    this.dispatch(index, fact)
    const { answer } = fact
    const isNewer = answer?.agreed === false && answer.holder !== '' && answer.epoch > term.epoch
    if (isNewer !== (this.node(index).state.term === null))
      this.broke = isNewer
        ? 'a term goes on beside a newer one'
        : 'a term ends although there is no newer one'
  }

  fail(index: number, id: number, code: 'timeout' | Refusal): void {
    this.dispatch(index, { type: 'write_failed', id, error: failure(code) })
  }

  dispatch(index: number, fact: Fact): readonly Effect[] {
    const { config, state } = this.node(index)
    const next = transition(config, state, fact, this.now)
    this.set(index, { state: next })
    for (const effect of next.effects) this.carryOut(index, effect)
    return next.effects
  }

  private carryOut(index: number, effect: Effect): void {
    const { api } = this.node(index)
    switch (effect.type) {
      case 'write': {
        const { id, lease } = effect.write
        const mode = this.modes.get(index) ?? 'deliver'
        const sent = { from: index, instance: this.node(index).instance, id, lease }
        if (!api || mode === 'lose request') return
        if (mode === 'delay request') this.world = { ...this.world, late: [...this.world.late, sent] }
        else this.commit(sent, mode === 'deliver')
        return
      }
      case 'read':
        if (api) this.dispatch(index, { type: 'lease', lease: this.world.lease, fresh: true })
        return
      case 'rehearse':
        if (api) this.dispatch(index, { type: 'rehearsed', error: null })
        return
      case 'grant':
        this.set(index, { grant: effect.grant })
        return
      case 'start':
        this.set(index, { runs: true })
        this.report(index, { alive: 'yes', canRun: false, well: true })
        return
      case 'drain':
        this.dispatch(index, { type: 'drained' })
        return
      case 'stop':
      case 'kill':
        this.stopped(index)
        return
      case 'ask':
        for (const { identity } of effect.asked) this.ask(index, identity, effect)
        return
      default:
        return
    }
  }

  private stopped(index: number): void {
    this.set(index, { runs: false, grant: null })
    this.report(index, { ...IDLE })
  }

  private report(index: number, workload: Partial<Workload>): void {
    const { state, grant, config } = this.node(index)
    const of = { epoch: grant?.epoch ?? null, identity: config.identity, killAt: grant?.killAt.mono ?? null }
    this.dispatch(index, { type: 'workload', workload: { ...state.workload, ...workload, ...of } })
  }

  commit(sent: Late, answered: boolean): void {
    const { lease: before, version, nodes } = this.world
    const { from, id, lease } = sent
    const isCurrent = nodes[from]?.instance === sent.instance
    const base = lease.metadata.resourceVersion
    const code = refusalOf(base, before)
    if (code !== null) {
      if (answered && isCurrent) this.fail(from, id, code)
      return
    }
    const metadata = {
      ...lease.metadata,
      uid: before?.metadata.uid ?? `u${version}`,
      resourceVersion: String(version + 1),
    }
    const committed = { ...lease, metadata }
    this.world = { ...this.world, lease: committed, version: version + 1 }
    if (answered && isCurrent) this.dispatch(from, { type: 'written', id, lease: committed })
    this.publish(answered ? null : from)
  }

  /** `except`: the replica whose reply and event are lost. */
  publish(except: number | null): void {
    for (const index of this.world.nodes.keys())
      if (index !== except && this.node(index).api)
        this.dispatch(index, { type: 'lease', lease: this.world.lease, fresh: false })
  }

  private reaches(one: number, other: number): boolean {
    return !this.world.cuts.includes([one, other].sort().join(''))
  }

  private ask(from: number, identity: string, { round, request }: Extract<Effect, { type: 'ask' }>): void {
    const mode = this.modes.get(from)
    const sent = mode === 'delay consent' ? { request } : { answer: this.answered(from, identity, request) }
    if (mode === 'delay consent' || mode === 'delay answers') {
      const late = { from, instance: this.node(from).instance, round, identity, sent }
      this.world = { ...this.world, consents: [...this.world.consents, late] }
    } else if ('answer' in sent) this.hear(from, { type: 'consent', round, identity, answer: sent.answer })
  }

  private answered(from: number, identity: string, request: ConsentRequest): ConsentAnswer | null {
    const to = this.world.nodes.findIndex(({ config }) => config.identity === identity)
    return to >= 0 && this.reaches(from, to) ? this.answer(to, request) : null
  }

  private answer(index: number, request: ConsentRequest): ConsentAnswer | null {
    const effects = this.dispatch(index, { type: 'consent_asked', request })
    const answer = effects.flatMap((effect) => (effect.type === 'answer' ? [effect.answer] : []))[0] ?? null
    if (answer?.agreed && request.kind === 'consent') this.broke ??= this.wrongConsent(index, request)
    return answer
  }

  /** Why this replica must not agree (F4). */
  private wrongConsent(index: number, { uid, holder, epoch }: ConsentRequest): string | null {
    const { config, instance, state } = this.node(index)
    const lease = state.seen?.lease ?? null
    if (state.term !== null) return 'a leader agrees'
    if (lease?.metadata.uid !== uid) return 'a replica agrees to another Lease'
    if (holderOf(lease) !== holder || epochOf(lease) !== epoch) return 'a replica agrees to an earlier term'
    if (!membersOf(lease)?.members?.some(({ identity }) => identity === config.identity))
      return 'a replica that is no member agrees'
    const version = this.world.lease?.metadata.resourceVersion
    const mayTake = this.world.late.some(
      ({ from, lease, ...sent }) =>
        from === index && sent.instance === instance && lease.metadata.resourceVersion === version,
    )
    return mayTake ? 'a replica agrees although its own write may still take the Lease' : null
  }

  /** The leader's poll of its peers. */
  private enrol(index: number): void {
    const { state, config } = this.node(index)
    const uid = state.seen?.lease?.metadata.uid
    if (state.term === null || uid === undefined || config.consentKey === null) return
    const request = { kind: 'enrol', uid, holder: config.identity, epoch: state.term.epoch } as const
    const members = this.world.nodes.flatMap((other, to) => {
      const known = state.term?.consent.members.some(({ identity }) => identity === other.config.identity)
      const agrees = to !== index && this.reaches(index, to) && (known || this.answer(to, request)?.agreed)
      return agrees ? [{ identity: other.config.identity, at: `h${to}:1` }] : []
    })
    if (JSON.stringify(members) !== JSON.stringify(state.term.consent.members))
      this.dispatch(index, { type: 'enrolled', members })
  }

  /** Another agent takes the place of one that has ended. `alone`: its launcher and LangFlow continue. */
  crash(index: number, alone: boolean): void {
    const { config, instance, grant, runs } = this.node(index)
    const identity = alone ? config.identity : `r${index}_${instance + 1}`
    const salt = (config.salt + 100) % 1000
    const fresh = {
      ...config,
      identity,
      salt,
      consentKey: config.consentKey && `${identity}-${instance + 1}`.padEnd(16, 'k'),
    }
    const kept = alone && runs
    this.set(index, {
      config: fresh,
      instance: instance + 1,
      state: initialState(),
      grant: kept ? grant : null,
      runs: kept,
    })
    this.report(index, kept ? { alive: 'yes', canRun: false, prepared: true, well: true } : { ...IDLE })
    if (this.node(index).api) this.dispatch(index, { type: 'lease', lease: this.world.lease, fresh: false })
    this.dispatch(index, { type: 'tick' })
  }

  edit(lease: Lease | null): void {
    const version = this.world.version + 1
    const metadata = lease && { ...lease.metadata, resourceVersion: String(version) }
    this.world = { ...this.world, version, lease: lease && { ...lease, metadata: metadata ?? {} } }
    this.publish(null)
  }

  patch(patch: Partial<World>): void {
    this.world = { ...this.world, ...patch }
  }

  api(index: number, api: boolean): void {
    this.set(index, { api })
    if (api) this.dispatch(index, { type: 'lease', lease: this.world.lease, fresh: false })
  }
}

type Refusal = 'conflict' | 'not_found' | 'already_exists'

/** `base`: the version that a write replaces. `undefined`: it is a creation. */
function refusalOf(base: string | undefined, before: Lease | null): Refusal | null {
  if (base === undefined) return before === null ? null : 'already_exists'
  if (before === null) return 'not_found'
  return base === before.metadata.resourceVersion ? null : 'conflict'
}

function failure(code: 'timeout' | Refusal): ApiError {
  return new ApiError(code, code, code === 'timeout' ? undefined : 409)
}

interface Choice {
  readonly name: string
  /** It ends a fault, and is no further one. */
  readonly heals?: true
  readonly modes?: ReadonlyMap<number, Mode>
  readonly act?: (player: Player, world: World) => void
}

function choicesOf({ nodes, lease, late, consents, cuts }: World): Choice[] {
  const choices: Choice[] = []
  const add = (name: string, act: Choice['act']) => choices.push({ name, ...(act && { act }) })
  for (const [index, { api, state }] of nodes.entries()) {
    if (api) add(`r${index} loses the API server`, (player) => player.api(index, false))
    else
      choices.push({
        name: `r${index} reaches it again`,
        heals: true,
        act: (player) => player.api(index, true),
      })
    add(`the agent of r${index} is killed`, (player) => player.crash(index, true))
    add(`the pod of r${index} is killed`, (player) => player.crash(index, false))
    if (state.term === null) continue
    const modes = api
      ? (['lose request', 'lose reply', 'delay request'] as const)
      : (['delay consent', 'delay answers'] as const)
    for (const mode of modes) choices.push({ name: `r${index}: ${mode}`, modes: new Map([[index, mode]]) })
    for (const other of nodes.keys())
      if (other !== index && !cuts.includes([index, other].sort().join('')))
        add(`r${index} and r${other} are cut`, (player, world) =>
          player.patch({ cuts: [...world.cuts, [index, other].sort().join('')] }),
        )
  }
  if (cuts.length > 0)
    choices.push({ name: 'no cut', heals: true, act: (player) => player.patch({ cuts: [] }) })
  if (nodes.every(({ api }) => api))
    add('the API server is away', (player) => {
      for (const index of nodes.keys()) player.api(index, false)
    })
  if (nodes.every(({ api }) => !api))
    choices.push({
      name: 'the API server is back',
      heals: true,
      act: (player) => {
        for (const index of nodes.keys()) player.api(index, true)
      },
    })
  for (const sent of late)
    choices.push({
      name: 'a late write arrives',
      heals: true,
      act: (player, world) => {
        player.patch({ late: world.late.filter((other) => other !== sent) })
        player.commit(sent, false)
      },
    })
  if (consents.length > 0)
    choices.push({
      name: 'late consent arrives',
      heals: true,
      act: (player) => {
        player.arrive = true
      },
    })
  if (lease === null || !nodes.some(({ api }) => api)) return choices
  add('the Lease is deleted', (player) => player.edit(null))
  const { annotations, ...metadata } = lease.metadata
  const note = (name: string, key: string, value: string) =>
    add(name, (player) =>
      player.edit({ ...lease, metadata: { ...metadata, annotations: { ...annotations, [key]: value } } }),
    )
  if (annotations?.[MEMBERS]) {
    note('the members are made unreadable', MEMBERS, '{')
    // The declaration is wrong here. Members that see it refuse their consent.
    if (!areDeclaredDead(lease) && nodes.every(({ api, state }) => api || state.term !== null))
      note('the members are declared dead', MEMBERS_DEAD, String(epochOf(lease)))
  }
  // The holder must not be cleared while it leads by consent: others take the Lease at once.
  const byConsent = nodes.some(
    ({ state: { term } }) => term !== null && term.renewedAt.mono > term.writtenAt.mono,
  )
  if (!byConsent && nodes.some(({ api, state }) => api && state.term !== null))
    add('the holder is cleared', (player) =>
      player.edit({ ...lease, spec: { ...lease.spec, holderIdentity: '' } }),
    )
  return choices
}

/** No decision rests on these. */
const IRRELEVANT: ReadonlySet<string> = new Set([
  'config',
  'decision',
  'effects',
  'history',
  HISTORY,
  'lastRead',
])

/** Equal for two worlds that continue in the same way. Times and versions are relative. */
function keyOf({ mono, version, faults, ...world }: World): string {
  return JSON.stringify([faults.length, world], (key, value) => {
    if (IRRELEVANT.has(key)) return undefined
    if (key === 'resourceVersion') return version - Number(value)
    if (typeof value === 'number' && value > START_MONO / 2)
      return value > WALL_AHEAD / 2 ? value - mono - WALL_AHEAD : value - mono
    if (typeof value === 'string' && /^20\d\d-.*Z$/.test(value)) return Date.parse(value) - mono - WALL_AHEAD
    return value
  })
}

function broken({ mono, nodes, lease }: World): string | null {
  const acting = nodes.filter(({ runs, grant }) => runs && grant !== null && mono < grant.killAt.mono)
  if (acting.length > 1) return 'two replicas act'
  const leaders = nodes.filter(({ state, api }) => state.term !== null && !state.term.doubt && api)
  const last = lease === null ? null : holderOf(lease)
  return leaders.length > 1 ? `two replicas lead, and ${last} holds the Lease` : null
}

function begin({
  replicas,
  failsafe,
  leaseDurationMs = 6_000,
  maxMs = MAX_MS,
  unlistedMaxMs,
}: Bounds): World {
  const timings = {
    leaseDurationMs,
    renewDeadlineMs: (leaseDurationMs * 2) / 3,
    retryPeriodMs: STEP_MS,
    killMarginMs: 1_000,
  }
  const nodes = Array.from({ length: replicas }, (_, index): Node => {
    const identity = `r${index}_1`
    const key = failsafe ? identity.padEnd(16, 'k') : null
    const failsafeMaxMs = index === replicas - 1 ? (unlistedMaxMs ?? maxMs) : maxMs
    const config = { ...CONFIG, ...timings, identity, salt: index, consentKey: key, failsafeMaxMs }
    return { config, instance: 1, state: initialState(), grant: null, runs: false, api: true }
  })
  const lease = { metadata: { name: 'lock', uid: 'u1', resourceVersion: '1' }, spec: {} }
  const cuts = unlistedMaxMs ? [...nodes.keys()].slice(0, -1).map((other) => `${other}${replicas - 1}`) : []
  const world = { mono: START_MONO, nodes, lease, version: 1, late: [], consents: [], cuts, faults: [] }
  const player = new Player(world, new Map())
  for (const index of nodes.keys()) player.crash(index, false)
  return player.result
}

export function explore(bounds: Bounds): Explored {
  let frontier = [begin(bounds)]
  const known = new Set<string>()
  for (let depth = 0; depth < bounds.depth; depth++) {
    const next: World[] = []
    for (const world of frontier) {
      const choices: Choice[] = [{ name: '', heals: true }]
      if (depth >= FIRST_FAULT) choices.push(...choicesOf(world))
      for (const { name, heals, modes = new Map(), act } of choices) {
        if (!heals && (world.faults.length >= bounds.faults || bounds.among?.test(name) === false)) continue
        const player = new Player(world, modes)
        act?.(player, world)
        const leader = world.nodes.findIndex(({ state }) => state.term !== null)
        if (bounds.away && depth === FIRST_FAULT - 1) player.api(leader, false)
        player.step()
        const faults = name === '' || heals ? world.faults : [...world.faults, `${depth}: ${name}`]
        const reached = { ...player.result, faults }
        const what = player.broke ?? broken(reached)
        if (what !== null)
          return { states: known.size, violation: { what, faults: [...faults, heals ? name : ''] } }
        const key = keyOf(reached)
        if (known.has(key)) continue
        known.add(key)
        next.push(reached)
      }
    }
    frontier = next
  }
  return { states: known.size, violation: null }
}

/** Milliseconds for which LangFlow runs after the API server has gone away, at most ten times the limit. */
export function outage(bounds: Bounds): number {
  const player = new Player(begin(bounds), new Map())
  for (let step = 0; step < FIRST_FAULT; step++) player.step()
  for (let index = 0; index < bounds.replicas; index++) player.api(index, false)
  const from = player.result.mono
  const lasted = () => player.result.mono - from
  while (player.result.nodes.some(({ runs }) => runs) && lasted() < 10 * MAX_MS) player.step()
  return lasted()
}
