import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../../harness/free-port.ts'
import { type Pod, podObstacle } from '../../harness/pod.ts'
import { ApiServerScene } from '../../harness/scene.ts'
import { mono, until } from '../../harness/wait.ts'
import { atMost, figure, measured, type Row, type Section, spread } from '../report.ts'
import { say, type Testbed } from '../testbed.ts'
import { added, boundOf, meanOf, readHistogram } from './histogram.ts'
import { failures, type Loader, type Outcome } from './loader.ts'
import { TARGET } from './paths.ts'

/** The retry period of the measured agent, short enough for many renewals in seconds. The lease duration is the default 15 s. */
const RETRY_MS = 200
/** Half of the default kill margin. */
const LATE_MS = 500
const LAG_MS = 100
const RATE = 2_000
const UPLOADS = 'uploads'

export interface LatenessSizes {
  readonly windowMs: number
  readonly uploadBytes: number
}

const METRICS = {
  lag: 'langflow_leader_event_loop_lag_seconds',
  renewal: 'langflow_leader_renew_duration_seconds',
}

/** Measures renewals of an agent without traffic, and under as much traffic as the machine allows. */
export async function measureLateness(
  testbed: Testbed,
  loader: Loader,
  { windowMs, uploadBytes }: LatenessSizes,
): Promise<Section[]> {
  const renewals: Row[] = []
  const metrics: Row[] = []
  const megabytes = uploadBytes / 1e6
  const late: Section = {
    title: 'Front: lateness of renewals',
    about: [
      `A real agent with \`--traffic=front\` leads. It has \`--retry-period=${RETRY_MS}ms\`, for more renewals in ${windowMs / 1000} s. Client, front, target, API server and etcd share the machine.`,
      `The time from one renewal to the next, as the benchmark’s own watch of the Lease received them, minus the retry period. The target is half of the default kill margin.`,
    ],
    rows: renewals,
    notes: [],
  }
  const own: Section = {
    title: 'Front: the agent’s own metrics under traffic',
    about: [
      `\`${METRICS.lag}\` (one value a second) and \`${METRICS.renewal}\` in the same windows. **At most**: the smallest bound of the histogram that no value exceeded.`,
      `**${RATE} requests/s**: the client sends at even intervals; a row has the rate that the machine reached. **Uploads**: ${megabytes} MB each, one after the other.`,
    ],
    rows: metrics,
    notes: [],
  }
  await measured(late, async () => {
    const obstacle = podObstacle()
    if (obstacle !== undefined) throw new Error(obstacle)
    await testbed.onScene(ApiServerScene.open(testbed.plane), async (scene) => {
      const { pod, port } = await servingPod(testbed, scene)
      const job = { port, forMs: windowMs }
      const watch = async (what: string, traffic: () => Promise<Outcome | undefined>) => {
        say(`front: lateness, ${what}`)
        const before = await readMetrics(pod)
        const from = mono()
        const outcome = await traffic()
        const to = mono()
        const after = await readMetrics(pod)
        const ifLoaded = (limit: number) => (outcome === undefined ? undefined : atMost(limit, 'ms'))
        const row = spread(what, 'ms', ifLoaded(LATE_MS))
        const at = scene.watch.versions.map((version) => version.at).filter((one) => one >= from && one <= to)
        row.values.push(...at.slice(1).map((one, n) => one - at[n]! - RETRY_MS))
        renewals.push(row)
        const [lag, renewal] = [added(before.lag, after.lag), added(before.renewal, after.renewal)]
        metrics.push(
          figure(`${what}: event loop lag, mean`, 'ms', inMs(meanOf(lag))),
          figure(`${what}: event loop lag, at most`, 'ms', inMs(boundOf(lag)), ifLoaded(LAG_MS)),
          figure(`${what}: duration of a renewal, mean`, 'ms', inMs(meanOf(renewal))),
          figure(`${what}: duration of a renewal, at most`, 'ms', inMs(boundOf(renewal))),
        )
        if (outcome === undefined) return
        const perSecond = (outcome.ms.length * 1000) / outcome.tookMs
        metrics.push(
          what === UPLOADS
            ? figure(`${what}: sent`, 'MB/s', perSecond * megabytes)
            : figure(`${what}: answered`, '1/s', perSecond),
          figure(`${what}: failed requests`, '', failures(outcome), atMost(0, 'requests')),
        )
      }
      await watch('no traffic', async () => void (await sleep(windowMs)))
      await watch(`${RATE} requests/s`, () => loader.run({ ...job, kind: 'paced', rate: RATE }))
      const count = Number.POSITIVE_INFINITY
      await watch(UPLOADS, () => loader.run({ ...job, kind: 'upload', bytes: uploadBytes, count }))
      const doubts = pod.agent.events().filter((event) => event === 'doubt').length
      metrics.push(figure('doubts in all windows', '', doubts, atMost(0, 'doubts')))
    })
  })
  return [late, own]
}

/** Starts agent and launcher as in a pod, with a front that forwards requests to the target. */
async function servingPod(testbed: Testbed, scene: ApiServerScene): Promise<{ pod: Pod; port: number }> {
  const [port, target] = [await freePort(), await freePort()]
  const name = 'front-leader'
  const pod = await scene.pod(name, {
    ...testbed.direct(scene, name),
    flags: [`--retry-period=${RETRY_MS}ms`],
    port: target,
    command: [process.execPath, TARGET, String(target)],
    env: {
      LEADER_TRAFFIC: 'front',
      LEADER_FRONT_LISTEN: `127.0.0.1:${port}`,
      POD_NAME: name,
      POD_UID: name,
      POD_IP: '127.0.0.1',
    },
  })
  await pod.agent.event('serving')
  await until('the front takes requests', async () => (await pod.get('/frontz')).status === 200)
  return { pod, port }
}

async function readMetrics(pod: Pod) {
  const { text } = await pod.get('/metrics')
  return { lag: readHistogram(text, METRICS.lag), renewal: readHistogram(text, METRICS.renewal) }
}

function inMs(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1000
}
