import { deployRights } from '../e2e/deploy-rights.ts'
import { LoggedProcess } from '../support/logged-process.ts'
import { programs } from './bare-pod.ts'
import { end, type Ground } from './ground.ts'
import { say } from './progress.ts'
import { atMost, type Section } from './row.ts'

const LIMIT_MS = 400

/** Starts agents one after the other, each with nothing beside it. */
export async function measureStarts(ground: Ground, count: number): Promise<Section> {
  const agents: number[] = []
  const nodes: number[] = []
  let failure: string | undefined
  try {
    const namespace = await ground.plane.newNamespace()
    const kubeconfig = await deployRights(ground.plane, namespace)
    for (let n = 1; n <= count; n++) {
      const place = { namespace, kubeconfig, identity: `start-${n}`, beats: ground.path('beats') }
      const { agent } = await programs(ground, place)
      agents.push(await timed(ground, agent, (one) => one.event('campaigning')))
      nodes.push(await timed(ground, NODE, (one) => one.find('a line', () => true)))
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
  ground: Ground,
  command: readonly string[],
  said: (one: LoggedProcess) => Promise<unknown>,
): Promise<number> {
  const begun = performance.now()
  const one = ground.keep(new LoggedProcess('start', command, ground.env))
  try {
    await said(one)
    return performance.now() - begun
  } finally {
    await end(one)
  }
}
