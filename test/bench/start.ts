import { join } from 'node:path'
import { freePort } from '../harness/free-port.ts'
import { LoggedProcess } from '../harness/logged-process.ts'
import { commandLine } from '../harness/replica.ts'
import { ApiServerScene } from '../harness/scene.ts'
import { atMost, measured, type Section, spread } from './report.ts'
import { say, type Testbed } from './testbed.ts'

const NODE = [process.execPath, '--eval', 'console.log("{}"); setInterval(() => {}, 2 ** 30)']

/** Starts agents one after the other, each of them alone. */
export async function measureStarts(testbed: Testbed, count: number): Promise<Section> {
  const agents = spread('spawn → `campaigning`', 'ms', atMost(400, 'ms'))
  const nodes = spread('node alone: spawn → first line', 'ms')
  const section: Section = {
    title: 'Agent start',
    about: [
      'The time from the spawn of `agent` to the receipt of its `campaigning` line, on the monotonic clock. One agent is started after the other.',
      '**node alone**: the same for a program that only writes one line. It is the lower limit for the agent.',
    ],
    rows: [agents, nodes],
    notes: [],
  }
  await measured(section, () =>
    testbed.onScene(ApiServerScene.open(testbed.plane), async (scene) => {
      for (let n = 1; n <= count; n++) {
        agents.values.push(await timed(await agentOf(testbed, scene, `start-${n}`), scene, 'campaigning'))
        nodes.values.push(await timed(NODE, scene))
        say(`agent start ${n}/${count}: ${agents.values.at(-1)?.toFixed(0)} ms`)
      }
    }),
  )
  return section
}

async function agentOf(testbed: Testbed, scene: ApiServerScene, identity: string): Promise<string[]> {
  const { namespace, log: beats } = scene
  const options = { ...testbed.direct(scene, identity), namespace, beats }
  const { agent } = commandLine(options, await freePort(), await freePort())
  const place = ['launcher.sock', 'state'].map((name) => join(scene.path(identity), name))
  return [
    process.execPath,
    testbed.main,
    'agent',
    ...agent,
    `--socket=${place[0]}`,
    `--state-dir=${place[1]}`,
  ]
}

/** Milliseconds until the first line with this event, or without `event`, until the first line. */
async function timed(command: readonly string[], scene: ApiServerScene, event?: string): Promise<number> {
  const begun = performance.now()
  const one = new LoggedProcess('start', command, {}, () => true)
  scene.atEnd(() => one.stop())
  await one.find(event ?? 'a line', (line) => line.event === event)
  const took = performance.now() - begun
  await one.stop()
  return took
}
