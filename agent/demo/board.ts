import Table from 'cli-table3'
import { lineOf } from './lines.ts'
import type { Paint } from './paint.ts'
import type { ReplicaView } from './replica-view.ts'
import { readable, short, TITLES } from './report.ts'
import type { Scene, Step } from './scene.ts'

/** How many of the last happenings the board shows. */
const LINES = 7

/** The live view: who leads, whose gate is open, what is under way, what happened last. */
export function drawBoard(scene: Scene, isOpen: (name: string) => boolean, paint: Paint): string {
  const table = new Table({
    head: ['replica', 'agent', 'role', 'epoch', 'workload', 'gate'].map(paint.strong),
    colWidths: [12, 11, 11, 8, 11, 9],
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  })
  for (const view of scene.replicas.values()) table.push(row(view, isOpen(view.name), paint))
  return [
    table.toString(),
    `front door ${scene.url}`,
    '',
    ...scene.steps.map((step) => stepLine(step, scene, paint)),
    '',
    ...scene.told.slice(-LINES).map((told) => lineOf(told, paint)),
    '',
    paint.faint(`${(scene.elapsedMs / 1_000).toFixed(1)} s, ${scene.doing}; Ctrl-C ends everything`),
  ].join('\n')
}

function row({ name, agent, role, epoch, workload }: ReplicaView, open: boolean, paint: Paint): string[] {
  const gone = agent === 'killed'
  return [
    role === 'leader' ? paint.strong(name) : name,
    agent === 'running' ? agent : paint.bad(agent),
    role === 'leader' ? paint.good(role) : role,
    role === 'leader' && epoch !== null ? String(epoch) : '-',
    gone || workload === 'none' ? '-' : workload === 'healthy' ? paint.good(workload) : paint.wait(workload),
    open ? paint.good('open') : 'closed',
  ]
}

function stepLine({ kind, state }: Step, scene: Scene, paint: Paint): string {
  const title = `${kind.padEnd(6)} ${TITLES[kind]}`
  if (state === 'to come') return paint.faint(`  ${title}`)
  const takeover = scene.takeovers.find((one) => one.kind === kind)
  if (takeover === undefined) return `${paint.wait('>')} ${title}`
  const { from, to, gapMs } = takeover
  return `${paint.good('\u2713')} ${title}: ${short(from)} -> ${short(to)}, gap ${readable(gapMs)}`
}
