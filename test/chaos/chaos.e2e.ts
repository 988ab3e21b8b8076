import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BUNDLE } from '../harness/bundle.ts'
import { podObstacle } from '../harness/pod.ts'
import { playChaos } from './chaos.ts'
import { evidenceOf, markdown, summarise } from './report.ts'

const MINUTES = 3
const SEED = 4

test(`${MINUTES} minutes of chaos break no invariant`, async (t) => {
  const obstacle = podObstacle()
  if (obstacle !== undefined) {
    t.skip(obstacle)
    return
  }
  const said: string[] = []
  const outcome = await playChaos({
    minutes: MINUTES,
    seed: SEED,
    main: BUNDLE,
    say: (sentence) => said.push(sentence),
    signal: t.signal,
  })
  const { violation, evidence, judge } = outcome
  if (violation !== null)
    assert.fail(`${evidenceOf(outcome, violation, evidence as string)}\n\n${said.join('\n')}`)
  const summary = summarise(outcome)
  t.diagnostic(markdown(summary))
  assert.ok(summary.takeovers >= 1)
  assert.ok(summary.faults.injected >= 15, `${summary.faults.injected} faults`)
  // Every invariant was really looked at.
  assert.ok(judge.counts.beats > 3_000, `${judge.counts.beats} beats`)
  assert.ok(judge.counts.readyPolls > 100, `${judge.counts.readyPolls} polls of a ready replica`)
  assert.ok(judge.counts.recoveries >= 1)
  assert.equal(new Set(judge.terms.list.map(({ epoch }) => epoch)).size, judge.terms.list.length)
})
