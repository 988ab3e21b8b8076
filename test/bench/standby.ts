import { encodeHistory, HISTORY } from '../../agent/lease/lease-history.ts'
import { LangflowScene, runEcho } from '../harness/langflow.ts'
import { writeLease } from '../harness/scene.ts'
import { atMost, measured, ratioText, type Section, spread } from './report.ts'
import { say, type Testbed } from './testbed.ts'

/** Longer than any standby takes to be prepared. */
const HELD_SECONDS = 600
/** What a leader notes that serves: a follower prepares its standby then. `writeLease` writes epoch 9. */
const SERVES = {
  [HISTORY]: encodeHistory([
    {
      ...{ epoch: 9, holder: 'another', began: new Date().toISOString(), because: 'never_held', gapMs: null },
      phases: { detectMs: 0, acquireMs: 0, startMs: 0, healthyMs: 0 },
      ...{ ended: null, endedBecause: null, stopMs: null },
    },
  ]),
}

/** A follower with a real LangFlow behind a Lease that the bench holds, and releases once the follower stands by. */
export async function measureStandbys(testbed: Testbed, count: number): Promise<Section> {
  const served = {
    cold: spread('cold: acquired → serving', 'ms'),
    warm: spread('warm: acquired → serving', 'ms', atMost(10_000, 'ms')),
  }
  const prepared = spread('warm: until it stands by', 'ms')
  const memory = spread('warm: memory of the standby (PSS)', 'MB')
  const section: Section = {
    title: 'Start of a real LangFlow after the grant',
    about: [
      'One follower, SQLite, one echo flow. Its Lease is held by the bench, and released once the follower stands by. The modes take turns.',
      '**acquired → serving**: by the follower’s own log, `/health_check` answers 200 then. Each one then ran the flow.',
    ],
    rows: [served.cold, served.warm, prepared, memory],
    notes: [],
  }
  await measured(section, async () => {
    await testbed.onScene(LangflowScene.open(testbed.plane), async (scene) => {
      for (let n = 1; n <= count; n++)
        for (const mode of ['cold', 'warm'] as const) {
          await writeLease(testbed.plane, scene.namespace, 'another', HELD_SECONDS, SERVES)
          const begun = performance.now()
          const identity = `${mode}-${n}`
          const flags = [`--standby=${mode}`]
          const replica = await scene.replica(identity, { ...testbed.direct(scene, identity), flags })
          const ready = await scene.standsBy(replica)
          if (ready.mode !== mode) throw new Error(`the standby is ${ready.mode}, not ${mode}`)
          if (mode === 'warm') {
            prepared.values.push(performance.now() - begun)
            memory.values.push(((await replica.status()).standby.memoryBytes ?? 0) / 1e6)
          }
          // As a holder releases it.
          await writeLease(testbed.plane, scene.namespace, '', 1)
          const acquired = await replica.event('acquired')
          const serving = await scene.serves(replica)
          served[mode].values.push(Date.parse(serving.time) - Date.parse(acquired.time))
          await runEcho(replica.port, 'hello')
          await replica.stop()
          say(`${mode} ${n}/${count}: ${served[mode].values.at(-1)} ms`)
        }
    })
    section.notes.push(`warm / cold, ratio of the medians: ${ratioText(served.warm, served.cold)}`)
  })
  return section
}
