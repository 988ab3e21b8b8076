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
export function page(library: typeof LIBRARY): void {
  const { units, formatDuration, shortDuration, listed, podOf, verdictOf } = library
  const EVERY_MS = 1_000
  const DEADLINE_MS = 5_000
  const MOST_TERMS = 10
  const find = (id: string) => document.getElementById(id)
  const short = (ms: number | null) => shortDuration(ms, units, formatDuration)
  let version: string | null = null
  let answeredAt = performance.now()

  /** Every text becomes a text node, without characters that are invisible. */
  function element(name: string, className: string, ...children: (Element | string | null)[]): Element {
    const made = document.createElement(name)
    made.className = className
    for (const one of children) made.append(typeof one === 'string' ? one.replace(/\p{C}/gu, '\ufffd') : one)
    return made
  }

  function tableRow(level: string, ...cells: (string | null | undefined)[]): Element {
    return element('tr', level, ...cells.map((cell) => element('td', '', cell ?? '-')))
  }

  function noticesOf(rows: readonly ReplicaRow[], now: number): Element[] {
    const reported = rows.flatMap(({ status }) => status ?? [])
    const { pause, switchover, leadership } = reported.find(({ lease }) => lease.self) ?? reported[0]!
    const until = pause?.until ? `for ${short(Date.parse(pause.until) - now)} more` : 'until resumed'
    // The reason why a replica cannot take over is in its row.
    const troubled = reported.filter(({ problem, unable }) => problem !== null && problem !== unable)
    const notices = [
      pause && ['warning', `Takeovers are paused ${until}`, pause.reason],
      switchover && [
        'warning',
        `${switchover.what} ${switchover.to}: ${switchover.state}`,
        switchover.reason,
      ],
      leadership.steppingDown && ['warning', 'The leader steps down', leadership.steppingDown],
      ...troubled.map(({ identity, problem }) => ['bad', podOf(identity), problem]),
    ].filter((one) => Array.isArray(one))
    return notices.map(([level, title, text]) =>
      element('p', `notice ${level}`, element('b', '', title ?? ''), ` ${text ?? ''}`),
    )
  }

  function rowOfReplica({ pod, status, problem }: ReplicaRow): Element {
    if (status === null) return tableRow('bad', pod, 'no answer', '-', '-', '-', '-', '-', problem)
    const { langflow, standby, traffic, unable, revision, flowsDigest, decision, workload } = status
    const { front } = traffic
    const [level, role] = roleOf(status)
    const runs = [traffic.gate === 'open' ? 'serves' : workload.state, langflow.version]
    const requests = front && `${front.held} held, ${front.inFlight} in flight, ${front.streams} streams`
    const ready = status.role === 'leader' ? '-' : `${standby.mode}, ${standby.state}`
    const why = unable ?? standby.reason ?? decision
    return tableRow(
      level,
      pod,
      role,
      runs.filter(Boolean).join(', '),
      ready,
      revision,
      flowsDigest,
      requests,
      why,
    )
  }

  function roleOf({ role, leadership, traffic, couldTakeOver }: AgentStatus): [string, string] {
    if (leadership.doubt) return ['bad', 'in doubt']
    if (role === 'leader') return [traffic.gate === 'open' ? 'good' : 'warning', 'leads']
    return couldTakeOver ? ['good', 'can take over'] : ['warning', 'cannot take over']
  }

  function rowOfTerm({ phases, ended, endedBecause, ...term }: PastTerm, now: number): Element {
    const lasted = short((ended === null ? now : Date.parse(ended)) - Date.parse(term.began))
    const { detectMs, acquireMs, startMs, healthyMs } = phases
    const times = [term.gapMs, detectMs, acquireMs, startMs, healthyMs].map(short)
    const end = endedBecause ?? (ended === null ? 'current' : 'unknown')
    return tableRow('', String(term.epoch), term.holder, term.began, lasted, term.because, ...times, end)
  }

  function show(rows: readonly ReplicaRow[]): void {
    const own = rows[0]?.status as AgentStatus
    version ??= own.version
    // The text of this page belongs to another version.
    if (version !== own.version) location.reload()
    const now = Date.parse(own.now)
    const { level, sentence, leader } = verdictOf(rows, listed)
    const { lease, history, lastDrill, leadership } = leader ?? own
    // A screen reader announces a change in an element that stays.
    if (document.title !== sentence) find('verdict').textContent = document.title = sentence
    find('head').className = level
    const left = leadership.killInMs
    const kill = left === null ? '' : `, LangFlow is killed in ${short(left)} unless the Lease is renewed`
    find('lease').textContent = `${lease.namespace}/${lease.name}, epoch ${lease.epoch}${kill}`
    const drill = lastDrill && `Last drill: ${lastDrill.result}, ${short(now - Date.parse(lastDrill.at))} ago`
    find('drill').textContent = drill ?? ''
    find('notices').replaceChildren(...noticesOf(rows, now))
    find('replicas').replaceChildren(...rows.map(rowOfReplica))
    find('terms').replaceChildren(...history.slice(0, MOST_TERMS).map((term) => rowOfTerm(term, now)))
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
