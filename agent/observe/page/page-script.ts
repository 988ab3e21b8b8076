import { formatDuration, listed, shortDuration, UNITS } from '../../config/values.ts'
import type { PastTerm } from '../../lease/lease-history.ts'
import { podOf } from '../../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../../status/agent-status.ts'

// biome-ignore lint/suspicious/noExplicitAny: the program has no types of a browser
declare const document: any, location: any
type Element = typeof document

/** What the page uses of the program. The functions use nothing but their parameters. */
export const LIBRARY = { units: UNITS, formatDuration, shortDuration, listed, podOf, verdictOf }

/**
 * The leader, the replicas that could take over, and whether all is well: exactly one replica serves, and another one
 * could and may take over.
 */
export function verdictOf(rows: readonly ReplicaRow[], list: typeof listed) {
  const leading = rows.filter(({ status }) => status?.role === 'leader')
  const standbys = rows.filter(({ status }) => status?.couldTakeOver)
  const [leader = null] = leading.length === 1 ? leading.map(({ status }) => status) : []
  const leads = list(leading.map(({ pod }) => pod)) || 'no replica'
  const follow = list(standbys.map(({ pod }) => pod)) || 'no replica'
  const isWell = leader?.traffic.gate === 'open' && standbys.length > 0 && !leader.pause
  const level = leader === null || leader.leadership.doubt ? 'bad' : isWell ? 'good' : 'warning'
  return { level, sentence: `Leader: ${leads}. Can take over: ${follow}.`, leader }
}

/**
 * Runs in the browser, from its own text, so it may use nothing but its parameter. It requests `/replicas` once a
 * second, and shows the answer.
 */
export function page({
  units,
  formatDuration,
  shortDuration,
  listed,
  podOf,
  verdictOf,
}: typeof LIBRARY): void {
  const EVERY_MS = 1_000
  const DEADLINE_MS = 5_000
  const MOST_TERMS = 10
  const PHASES = ['detect', 'acquire', 'start', 'healthy'] as const
  const find = (id: string) => document.getElementById(id)
  const short = (ms: number | null) => shortDuration(ms, units, formatDuration)
  let version: string | null = null
  let answeredAt = performance.now()

  /** Every text becomes a text node, without characters that are invisible. A falsy child is left out. */
  function element(name: string, className: string, ...children: (Element | string)[]): Element {
    const made = document.createElement(name)
    made.className = className
    for (const one of children)
      if (one) made.append(typeof one === 'string' ? one.replace(/\p{C}/gu, '\ufffd') : one)
    return made
  }

  function notice(level: string, title: string, text: string | null): Element {
    return element('p', `notice ${level}`, element('b', '', title), ` ${text ?? ''}`)
  }

  function noticesOf(rows: readonly ReplicaRow[], now: number): Element[] {
    const reported = rows.flatMap(({ status }) => status ?? [])
    const { pause, switchover, leadership } = reported.find(({ lease }) => lease.self) ?? reported[0]!
    const left = pause?.until
      ? `for ${short(Date.parse(pause.until) - now)} more`
      : 'until an operator resumes'
    const request = switchover && `Request for a ${switchover.what} ${switchover.to}: ${switchover.state}`
    // The reason why a replica cannot take over is on its card.
    const troubled = reported.filter(({ problem, unable }) => problem !== null && problem !== unable)
    return [
      pause && notice('warning', `Paused ${left}: no takeover starts`, pause.reason),
      request && notice('warning', request, switchover.reason),
      leadership.steppingDown && notice('warning', 'The leader steps down', leadership.steppingDown),
      ...troubled.map(({ identity, problem }) => notice('bad', podOf(identity), problem)),
    ].filter(Boolean)
  }

  function cardOf({ pod, node, status, problem }: ReplicaRow, leader: AgentStatus | null): Element {
    const name = element('h3', '', pod)
    if (status === null)
      return element('li', 'card bad', name, element('p', 'badge', 'no answer'), element('p', '', problem))
    const [level, role] = roleOf(status)
    const differing = (own: string | null, leaders: string | null | undefined) =>
      own !== null && leaders != null && own !== leaders ? `${own}, differs from the leader’s` : own
    const { langflow, standby, leadership, traffic, unable } = status
    const { front } = traffic
    const serves = traffic.gate === 'open' ? 'serves' : status.workload.state
    const facts = [
      ['LangFlow', `${serves}${langflow.version === null ? '' : `, ${langflow.version}`}`],
      ['Front', front && `${front.held} held, ${front.inFlight} in flight, ${front.streams} streams`],
      ['Standby', status.role === 'leader' ? null : `${standby.mode}, ${standby.state}`],
      ['Revision', differing(status.revision, leader?.revision)],
      ['Flows', differing(status.flowsDigest, leader?.flowsDigest)],
      ['Content', differing(status.content?.digest ?? null, leader?.content?.digest)],
      ['Secret key', differing(status.secretKeyDigest, leader?.secretKeyDigest)],
      ['Node', node],
      ['Campaigns', leadership.coolDownMs && `again in ${short(leadership.coolDownMs)}`],
    ].filter(([, value]) => value)
    const rows = facts.flatMap(([fact, value]) => [element('dt', '', fact), element('dd', '', value)])
    const why = [unable && `Cannot take over: ${unable}`, standby.reason].filter(Boolean)
    return element(
      'li',
      `card ${level}`,
      name,
      element('p', 'badge', role),
      element('p', '', status.decision),
      ...why.map((text) => element('p', 'why', text)),
      element('dl', '', ...rows),
    )
  }

  function roleOf({ role, leadership, traffic, couldTakeOver, pause }: AgentStatus): [string, string] {
    if (leadership.doubt) return ['bad', 'in doubt']
    if (role === 'leader')
      return traffic.gate === 'open' ? ['good', 'leads'] : ['warning', 'leads, not serving']
    if (!couldTakeOver) return ['warning', 'cannot take over']
    return pause ? ['warning', 'can take over after the pause'] : ['good', 'can take over']
  }

  function termOf(term: PastTerm, longestMs: number, now: number): Element {
    const { epoch, holder, began, because, phases, gapMs, ended, endedBecause } = term
    const lasted = short((ended === null ? now : Date.parse(ended)) - Date.parse(began))
    const end = ended === null ? 'until now' : `ended: ${endedBecause ?? 'unknown'}`
    const bar = element('div', 'phases')
    for (const phase of PHASES) {
      const part = element('span', phase)
      part.style.width = `${(100 * (phases[`${phase}Ms`] ?? 0)) / longestMs}%`
      bar.append(part)
    }
    const times = PHASES.map((phase) => `${phase} ${short(phases[`${phase}Ms`])}`).join(', ')
    return element(
      'li',
      '',
      element('h3', '', holder, element('span', 'faint', ` epoch ${epoch}`)),
      element('p', 'faint', `${began}, for ${lasted}; began: ${because}, ${end}`),
      bar,
      element('p', 'faint', `no server for ${short(gapMs)} (${times})`),
    )
  }

  function show(rows: readonly ReplicaRow[]): void {
    const own = rows[0]?.status as AgentStatus
    version ??= own.version
    // The text of this page belongs to another version.
    if (version !== own.version) location.reload()
    const now = Date.parse(own.now)
    const { level, sentence, leader } = verdictOf(rows, listed)
    const { lease, history, lastDrill, leadership, timings } = leader ?? own
    // A screen reader announces a change in an element that stays.
    if (document.title !== sentence) find('verdict').textContent = document.title = sentence
    find('head').className = level
    const led = leader?.lease.since ? `, for ${short(now - Date.parse(leader.lease.since))}` : ''
    find('lease').textContent = `${lease.namespace}/${lease.name}, epoch ${lease.epoch}${led}`

    const left = leadership.killInMs
    find('margin').hidden = left === null
    find('left').textContent = `LangFlow is killed in ${short(left)} unless the Lease is renewed`
    const all = timings.leaseDurationMs - timings.killMarginMs
    const low = all - timings.renewDeadlineMs
    Object.assign(find('meter'), {
      max: all,
      low,
      high: low + timings.retryPeriodMs,
      optimum: all,
      value: left ?? 0,
    })

    const drill = lastDrill && `Last drill: ${lastDrill.result}, ${short(now - Date.parse(lastDrill.at))} ago`
    find('drill').textContent = drill ?? ''
    find('notices').replaceChildren(...noticesOf(rows, now))
    find('replicas').replaceChildren(...rows.map((row) => cardOf(row, leader)))
    const shown = history.slice(0, MOST_TERMS)
    const totals = shown.map(({ phases }) =>
      Object.values(phases).reduce<number>((sum, ms) => sum + (ms ?? 0), 0),
    )
    find('terms').replaceChildren(...shown.map((term) => termOf(term, Math.max(1, ...totals), now)))
    find('reporter').textContent = `Reported by ${rows[0]?.pod} at ${own.now}, langflow-leader ${own.version}`
  }

  async function update(): Promise<void> {
    let problem = 'does not answer'
    try {
      const answer = await fetch('replicas', { cache: 'no-store', signal: AbortSignal.timeout(DEADLINE_MS) })
      problem = `answers ${answer.status}`
      show((await answer.json()) as ReplicaRow[])
      answeredAt = performance.now()
      problem = ''
    } catch {}
    const ago = short(performance.now() - answeredAt)
    find('stale').textContent = `This replica ${problem}. Its last answer came ${ago} ago; the page retries.`
    find('stale').hidden = problem === ''
    find('main').className = problem === '' ? '' : 'stale'
  }

  async function run(): Promise<void> {
    // A hidden tab needs no update.
    if (!document.hidden) await update()
    setTimeout(run, EVERY_MS)
  }
  void run()
}
