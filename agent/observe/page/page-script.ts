import { listed } from '../../config/values.ts'
import type { AgentStatus, ReplicaRow } from '../../status/agent-status.ts'

// biome-ignore lint/suspicious/noExplicitAny: the program has no types of a browser
declare const document: any, location: any
type Element = typeof document

/** What the page uses of the program. The functions use nothing but their parameters. */
export const LIBRARY = { listed, verdictOf }

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
export function page({ listed, verdictOf }: typeof LIBRARY): void {
  const EVERY_MS = 1_000
  const DEADLINE_MS = 5_000
  const find = (id: string) => document.getElementById(id)
  let version: string | null = null
  let answeredAt = performance.now()

  /** Every text becomes a text node, without characters that are invisible. */
  function element(name: string, className: string, ...children: (Element | string)[]): Element {
    const made = document.createElement(name)
    made.className = className
    for (const one of children) made.append(typeof one === 'string' ? one.replace(/\p{C}/gu, '\ufffd') : one)
    return made
  }

  function noticesOf({ pause, switchover, leadership }: AgentStatus): Element[] {
    const sentences = [
      pause && `Takeovers are paused until ${pause.until ?? 'they are resumed'}. ${pause.reason ?? ''}`,
      switchover && `${switchover.what} ${switchover.to}: ${switchover.state}. ${switchover.reason ?? ''}`,
      leadership.steppingDown && `The leader steps down: ${leadership.steppingDown}`,
    ]
    return sentences.filter((one) => one != null).map((one) => element('p', 'notice warning', one))
  }

  function rowOf({ pod, status, problem }: ReplicaRow): Element {
    const [level, ...cells] = status === null ? ['bad', 'no answer', '-', '-', '-', problem] : cellsOf(status)
    return element('tr', level ?? '', ...[pod, ...cells].map((cell) => element('td', '', cell ?? '-')))
  }

  function cellsOf({ role, langflow, standby, traffic, workload, ...status }: AgentStatus) {
    const isOpen = traffic.gate === 'open'
    const runs = [isOpen ? 'serves' : workload.state, langflow.version].filter(Boolean).join(', ')
    const why = status.problem ?? status.unable ?? standby.reason ?? status.decision
    const [level, shown] =
      role === 'leader'
        ? [isOpen ? 'good' : 'warning', 'leads']
        : status.couldTakeOver
          ? ['good', 'can take over']
          : ['warning', 'cannot take over']
    const [ready, { doubt }] = [`${standby.mode}, ${standby.state}`, status.leadership]
    const first = doubt ? ['bad', 'in doubt'] : [level, shown]
    return [...first, runs, role === 'leader' ? '-' : ready, status.revision, why]
  }

  function show(rows: readonly ReplicaRow[]): void {
    const own = rows[0]?.status as AgentStatus
    version ??= own.version
    // The text of this page belongs to another version.
    if (version !== own.version) location.reload()
    const { level, sentence, leader } = verdictOf(rows, listed)
    const { lease, leadership } = leader ?? own
    // A screen reader announces a change in an element that stays.
    if (document.title !== sentence) find('verdict').textContent = document.title = sentence
    find('head').className = level
    const left = leadership.killInMs
    const kill =
      left === null ? '' : `, LangFlow is killed in ${Math.round(left / 1000)}s unless it is renewed`
    find('lease').textContent = `Lease ${lease.namespace}/${lease.name}, epoch ${lease.epoch}${kill}`
    find('notices').replaceChildren(...noticesOf(leader ?? own))
    find('replicas').replaceChildren(...rows.map(rowOf))
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
    const ago = Math.round((performance.now() - answeredAt) / 1000)
    find('stale').textContent =
      `This replica ${problem}. Its last answer came ${ago} s ago; the page retries.`
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
