import { deployRights } from '../harness/control-plane.ts'
import { freePort } from '../harness/free-port.ts'
import {
  LANGFLOW_MISSING,
  langflowBinary,
  langflowEnvironment,
  runEcho,
  writeFlow,
} from '../harness/langflow.ts'
import { Replica } from '../harness/replica.ts'
import { percentile } from '../harness/report.ts'
import { writeLease } from '../harness/scene.ts'
import { atMost, type Row, type Section } from './report.ts'
import { end, say, type Testbed } from './testbed.ts'

const LIMIT_MS = 10_000
/** Longer than any standby takes to be prepared. */
const HELD_SECONDS = 600
const MODES = ['cold', 'warm'] as const

/** A follower with a real LangFlow behind a Lease that the bench holds, and releases once the follower stands by. */
export async function measureStandbys(testbed: Testbed, count: number): Promise<Section> {
  const served: Record<(typeof MODES)[number], number[]> = { cold: [], warm: [] }
  const prepared: number[] = []
  const memory: number[] = []
  const section = (more: Partial<Section>): Section => ({
    title: 'Start of a real LangFlow after the grant',
    shape: 'spread',
    about: [
      'One follower, SQLite, one echo flow. Its Lease is held by the bench, and released once the follower stands by. The modes take turns.',
      '**acquired → serving**: by the follower’s own log, `/health_check` answers 200 then. Each one then ran the flow.',
    ],
    rows: [
      ...MODES.map(
        (mode): Row => ({
          what: `${mode}: acquired → serving`,
          unit: 'ms',
          values: served[mode],
          ...(mode === 'warm' ? { target: atMost(LIMIT_MS, 'ms') } : {}),
        }),
      ),
      { what: 'warm: until it stands by', unit: 'ms', values: prepared },
      { what: 'warm: memory of the standby (PSS)', unit: 'MB', values: memory },
    ],
    notes: [],
    ...more,
  })
  const binary = langflowBinary()
  if (binary === undefined) return section({ rows: [], notes: [`Not measured: ${LANGFLOW_MISSING}.`] })
  try {
    const namespace = await testbed.plane.newNamespace()
    const kubeconfig = await deployRights(testbed.plane, namespace)
    const flows = writeFlow(binary, testbed.path('flows'))
    for (let n = 1; n <= count; n++) {
      for (const mode of MODES) {
        await writeLease(testbed.plane, namespace, 'another', HELD_SECONDS)
        const port = await freePort()
        const identity = `${mode}-${n}`
        const begun = performance.now()
        const replica = testbed.keep(
          await Replica.start({
            identity,
            kubeconfig,
            namespace,
            port,
            beats: testbed.path('unused'),
            main: testbed.main,
            flags: [`--standby=${mode}`],
            command: [binary, 'run', '--backend-only'],
            env: { ...testbed.env, ...langflowEnvironment(testbed.path('langflow'), port, flows) },
          }),
        )
        try {
          const ready = await replica.event('standby_ready')
          if (ready.mode !== mode) throw new Error(`the standby is ${ready.mode}, not ${mode}`)
          if (mode === 'warm') {
            prepared.push(performance.now() - begun)
            memory.push(((await replica.status()).standby.memoryBytes ?? 0) / 1e6)
          }
          // As a holder releases it.
          await writeLease(testbed.plane, namespace, '', 1)
          const acquired = await replica.event('acquired')
          const serving = await replica.event('serving')
          served[mode].push(Date.parse(serving.time) - Date.parse(acquired.time))
          await runEcho(port, 'hello')
        } finally {
          await end(replica)
        }
        say(`${mode} ${n}/${count}: ${served[mode].at(-1)} ms`)
      }
    }
    return section({
      notes: [`warm / cold, ratio of the medians: **${ratioOf(served.warm, served.cold)}**`],
    })
  } catch (error) {
    return section({ failure: (error as Error).message })
  }
}

function ratioOf(values: readonly number[], others: readonly number[]): string {
  return (percentile(values, 0.5) / percentile(others, 0.5)).toPrecision(2)
}
