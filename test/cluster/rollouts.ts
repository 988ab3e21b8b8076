// What npm run bench:rollouts runs inside a cluster: rollouts of each combination of traffic mode, kind and replicas, one
// after the other; writes its part of docs/deploy.md. With arguments only those combinations, on stdout: readiness/Deployment/2,
// or front/
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { summarise, table, withPart } from '../harness/report.ts'
import { Installation, type InstallationOptions, type Rollout } from './installation.ts'
import { changeOf, isReady, Kube } from './kube.ts'
import { LANGFLOW } from './workload.ts'

type Combination = Required<Pick<InstallationOptions, 'traffic' | 'kind' | 'replicas'>>

/** deploy/production with the real LangFlow, instead of the stand-in. */
const REAL: Combination & InstallationOptions = {
  ...{ traffic: 'front', kind: 'Deployment', replicas: 2 },
  ...{ base: 'production', components: ['postgresql'], workload: LANGFLOW },
}
const COMBINATIONS: readonly Combination[] = [
  ...(['readiness', 'front'] as const).flatMap((traffic) =>
    (['Deployment', 'StatefulSet'] as const).flatMap((kind) =>
      [1, 2, 3].map((replicas) => ({ traffic, kind, replicas })),
    ),
  ),
  REAL,
]
/** The first one begins with the leader that the installation chose, the others with whom the one before left. */
const ROUNDS = 3
/** Each of its pods has a whole LangFlow to start, and to freeze. */
const REAL_MS = 300_000
const PAGE = join(import.meta.dirname, '../../docs/deploy.md')

/** As it is asked for. */
function nameOf(one: Combination): string {
  return one === REAL ? 'langflow' : `${one.traffic}/${one.kind}/${one.replicas}`
}

/** What a rollout was to be and was not; empty: nothing. */
function shortcomings({ traffic, kind }: Combination, rollout: Rollout): string[] {
  // A StatefulSet replaces its highest ordinal first, and a leader there has nobody new to hand over to.
  const most = kind === 'StatefulSet' && traffic !== 'readiness' ? 2 : 1
  return [
    ...(rollout.allNewMs === null ? ['old pods are left'] : []),
    ...(rollout.handovers >= 1 && rollout.handovers <= most ? [] : [`${rollout.handovers} handovers`]),
    ...(traffic !== 'readiness' && rollout.statusMs === null ? ['rollout status did not succeed'] : []),
    ...(traffic === 'front' && rollout.failed > 0 ? [`${rollout.failed} failed requests`] : []),
    ...rollout.violations,
  ]
}

/** Median and, in brackets, the longest. */
function seconds(times: readonly number[]): string {
  const { median, max } = summarise(times)
  return `${(median / 1000).toFixed(1)} s (${(max / 1000).toFixed(1)})`
}

function row(one: Combination, rollouts: readonly Rollout[]): string[] {
  const known = (times: readonly (number | null)[]) => times.filter((time) => time !== null)
  const allNew = known(rollouts.map(({ allNewMs }) => allNewMs))
  const statuses = known(rollouts.map(({ statusMs }) => statusMs))
  const unended = rollouts.length - statuses.length
  const sum = (of: (rollout: Rollout) => number) => rollouts.reduce((total, each) => total + of(each), 0)
  return [
    one === REAL ? `${one.traffic}, real LangFlow` : one.traffic,
    one.kind,
    String(one.replicas),
    allNew.length < rollouts.length ? '**never**' : seconds(allNew),
    rollouts.map(({ handovers }) => handovers).join(', '),
    statuses.length === 0
      ? 'does not end'
      : `success after ${seconds(statuses)}${unended > 0 ? `; **${unended} did not end**` : ''}`,
    seconds(rollouts.map(({ awayMs }) => awayMs)),
    `${sum(({ failed }) => failed)} of ${sum(({ calls }) => calls)}`,
    one === REAL ? 'not told' : `${Math.max(...rollouts.map(({ overlapMs }) => overlapMs)).toFixed(0)} ms`,
  ]
}

const wanted = process.argv.slice(2)
const chosen = COMBINATIONS.filter(
  (one) => wanted.length === 0 || wanted.some((name) => nameOf(one).startsWith(name)),
)
if (chosen.length === 0) {
  const names = COMBINATIONS.map(nameOf).join(', ')
  process.stderr.write(`no such combination: use ${names}, or how one of these begins\n`)
  process.exit(2)
}

const kube = new Kube()
const rows: string[][] = []
for (const combination of chosen) {
  const one = await Installation.start(kube, combination)
  const rollouts: Rollout[] = []
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const rollout = await one.rollOut(combination.replicas, combination === REAL ? REAL_MS : undefined)
      rollouts.push(rollout)
      const wrong = shortcomings(combination, rollout)
      const pods = (await one.pods()).map((pod) => `${changeOf(pod) ?? 'old'}${isReady(pod) ? ' Ready' : ''}`)
      const judged = wrong.join('; ') || 'as it should be'
      process.stderr.write(`${nameOf(combination)}: ${judged} (${pods.join(', ')})\n`)
      if (wrong.length === 0) continue
      process.exitCode = 1
      process.stderr.write(`${await one.evidence()}\n`)
      break
    }
  } finally {
    await one.close()
  }
  rows.push(row(combination, rollouts))
}
const { gitVersion } = await kube.get<{ gitVersion: string }>('/version')
await kube.close()
const measured = `date: ${new Date().toISOString().slice(0, 10)}; Kubernetes: ${gitVersion}`
const names = 'traffic|kind|replicas|all pods new|handovers|`rollout status`|no answer for|failed|two acting'
const text = [
  `Written by \`npm run bench:rollouts\` on a cluster of one node (${measured}). LangFlow is a stand-in that starts in one second, but for the last row: deploy/production with the real one, warm, on PostgreSQL. A client asks the Service 20 times a second and never tries twice. The rollouts of a row follow each other on one installation: times are the median and, in brackets, the longest.`,
  table(names.split('|'), ['-', '-', '-:', '-:', '-:', '-', '-:', '-:', '-:'], rows),
].join('\n\n')
if (wanted.length > 0) process.stdout.write(`${text}\n`)
else writeFileSync(PAGE, withPart(existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '', 'rollouts', text))
