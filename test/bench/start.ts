import { deployRights } from '../harness/control-plane.ts'
import { LoggedProcess } from '../harness/logged-process.ts'
import { programs } from './ours.ts'
import { atMost, type Section } from './report.ts'
import { end, say, type Testbed } from './testbed.ts'

const LIMIT_MS = 400

/** Starts agents one after the other, each with nothing beside it. */
export async function measureStarts(testbed: Testbed, count: number): Promise<Section> {
  const agents: number[] = []
  const nodes: number[] = []
  let failure: string | undefined
  try {
    const namespace = await testbed.plane.newNamespace()
    const kubeconfig = await deployRights(testbed.plane, namespace)
    for (let n = 1; n <= count; n++) {
      const place = { namespace, kubeconfig, identity: `start-${n}`, beats: testbed.path('beats') }
      const { agent } = await programs(testbed, place)
      agents.push(await timed(testbed, agent, (one) => one.event('campaigning')))
      nodes.push(await timed(testbed, NODE, (one) => one.find('a line', () => true)))
      say(
        `agent start ${n}/${count}: ${agents.at(-1)?.toFixed(0)} ms (node alone: ${nodes.at(-1)?.toFixed(0)} ms)`,
      )
    }
  } catch (error) {
    failure = (error as Error).message
  }
  return {
    title: 'Agent start',
    shape: 'spread',
    about: [
      'From the spawn of `agent` to the receipt of its `campaigning` line, monotonic clock, one after the other.',
      '**node alone**: the same for a program that only writes one line, which the agent cannot go below.',
    ],
    rows: [
      { what: 'spawn → `campaigning`', unit: 'ms', values: agents, target: atMost(LIMIT_MS, 'ms') },
      { what: 'node alone: spawn → first line', unit: 'ms', values: nodes },
    ],
    notes: [],
    ...(failure === undefined ? {} : { failure }),
  }
}

const NODE = [process.execPath, '--eval', 'console.log("{}"); setInterval(() => {}, 2 ** 30)']

async function timed(
  testbed: Testbed,
  command: readonly string[],
  said: (one: LoggedProcess) => Promise<unknown>,
): Promise<number> {
  const begun = performance.now()
  const one = testbed.keep(new LoggedProcess('start', command, testbed.env))
  try {
    await said(one)
    return performance.now() - begun
  } finally {
    await end(one)
  }
}
