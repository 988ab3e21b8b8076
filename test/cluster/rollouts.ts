// What npm run bench:rollouts runs inside a cluster: rollouts of each combination of traffic mode, kind and replicas, one
// after the other; writes its part of docs/deploy.md. With arguments only those combinations, on stdout: label/Deployment/2,
// or slice/
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { withPart } from '../harness/report.ts'
import { Installation } from './installation.ts'
import { Kube } from './kube.ts'
import { REAL_PRODUCTION } from './real-langflow.ts'
import { type Rollout, rollOut, stateInWords } from './rollout.ts'
import {
  COMBINATIONS,
  type Combination,
  nameOf,
  ROLLOUTS_PART,
  rolloutsText,
  shortcomings,
} from './rollout-table.ts'

/** The first one begins with the leader that the installation chose, the others with whom the one before left. */
const ROUNDS = 3
/** Each of its pods has a whole LangFlow to start, and to freeze. */
const REAL_MS = 300_000
const PAGE = join(import.meta.dirname, '../../docs/deploy.md')

const wanted = process.argv.slice(2)
const chosen = COMBINATIONS.filter(
  (one) => wanted.length === 0 || wanted.some((name) => nameOf(one).startsWith(name)),
)
if (chosen.length === 0) {
  process.stderr.write(
    `no such combination: use ${COMBINATIONS.map(nameOf).join(', ')}, or how one of these begins\n`,
  )
  process.exit(2)
}

const kube = new Kube()
const measured: [Combination, Rollout[]][] = []
const missed: string[] = []
for (const combination of chosen) {
  const one = await Installation.start(kube, combination.real ? REAL_PRODUCTION : combination)
  const withinMs = combination.real ? REAL_MS : undefined
  const rollouts: Rollout[] = []
  measured.push([combination, rollouts])
  try {
    for (let round = 0; round < ROUNDS; round++) {
      await one.settled(combination.replicas, withinMs)
      const rollout = await rollOut(one, combination.replicas, withinMs)
      rollouts.push(rollout)
      const wrong = shortcomings(combination, rollout)
      process.stderr.write(
        `${nameOf(combination)}: ${wrong.join('; ') || 'as it should be'} (${await stateInWords(one)})\n`,
      )
      if (wrong.length === 0) continue
      missed.push(nameOf(combination))
      process.stderr.write(`${await one.evidence()}\n`)
      break
    }
  } finally {
    await one.close()
  }
}
const { gitVersion } = await kube.get<{ gitVersion: string }>('/version')
const text = rolloutsText(measured, [
  ['date', new Date().toISOString().slice(0, 10)],
  ['Kubernetes', gitVersion],
])
if (wanted.length > 0) process.stdout.write(`${text}\n`)
else writeFileSync(PAGE, withPart(existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '', ROLLOUTS_PART, text))
await kube.close()
process.exitCode = missed.length === 0 ? 0 : 1
