import { encodeHistory, HISTORY } from '../../agent/lease/lease-history.ts'
import { LangflowScene, runEcho } from '../harness/langflow.ts'
import { writeLease } from '../harness/scene.ts'
import { atMost, measured, ratioText, type Section, spread } from './report.ts'
import { say, type Testbed } from './testbed.ts'

/** Longer than the preparation of any standby. */
const HELD_SECONDS = 600
/** The history of a leader that serves: a follower prepares its standby only then. `writeLease` writes epoch 9. */
const SERVES = {
  [HISTORY]: encodeHistory([
    {
      ...{ epoch: 9, holder: 'another', began: new Date().toISOString(), because: 'never_held', gapMs: null },
      phases: { detectMs: 0, acquireMs: 0, startMs: 0, healthyMs: 0 },
      ...{ ended: null, endedBecause: null, stopMs: null },
    },
  ]),
}

/** Measures a follower with a real LangFlow. The benchmark holds its Lease, and releases it once the follower stands by. */
export async function measureStandbys(testbed: Testbed, count: number): Promise<Section> {
  const served = {
    cold: spread('cold: acquired → serving', 'ms'),
    warm: spread('warm: acquired → serving', 'ms', atMost(10_000, 'ms')),
  }
  const prepared = spread('warm: until it stands by', 'ms')
  const section: Section = {
    title: 'Start of a real LangFlow after the grant',
    about: [
      'One follower with SQLite and one echo flow. The benchmark holds the Lease, and releases it once the follower stands by. The modes take turns.',
      '**acquired → serving**: by the follower’s own log. At `serving`, `/health_check` answers with 200. Each leader then ran the flow.',
    ],
    rows: [served.cold, served.warm, prepared],
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
          if (mode === 'warm') prepared.values.push(performance.now() - begun)
          // Releases the Lease, as its holder would.
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
