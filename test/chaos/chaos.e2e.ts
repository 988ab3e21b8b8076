import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BUNDLE } from '../harness/bundle.ts'
import { podObstacle } from '../harness/pod.ts'
import { playChaos, summary } from './chaos.ts'

const MINUTES = 3
const SEED = 4

test(`${MINUTES} minutes of chaos break no invariant`, { skip: podObstacle() ?? false }, async (t) => {
  const said: string[] = []
  const say = (sentence: string) => said.push(sentence)
  const outcome = await playChaos({ minutes: MINUTES, seed: SEED, main: BUNDLE, say, signal: t.signal })
  const { violation, judge, faults, recoveries } = outcome
  if (violation !== undefined) assert.fail(`${violation}\n\n${said.join('\n')}`)
  t.diagnostic(summary(outcome))
  assert.ok(judge.terms.list.length >= 2)
  assert.ok(faults.length >= 15, `${faults.length} faults`)
  // Every invariant was really looked at.
  assert.ok(judge.counts.beats > 3_000, `${judge.counts.beats} beats`)
  assert.ok(judge.counts.readyPolls > 100, `${judge.counts.readyPolls} polls of a ready replica`)
  assert.ok(recoveries.length >= 1)
})
