import { setTimeout as sleep } from 'node:timers/promises'
import type { Fact } from '../harness/report.ts'
import { type LatenessSizes, measureLateness } from './front/lateness.ts'
import { Loader } from './front/loader.ts'
import { haproxyVersion, openPaths, type Path, type Paths } from './front/paths.ts'
import { percentile } from './percentiles.ts'
import {
  atMost,
  describe,
  figure,
  measured,
  type Row,
  ratioText,
  type Section,
  spread,
  verdict,
} from './report.ts'
import { say, type Testbed } from './testbed.ts'
import { cpuSeconds, forgetPeak, peakMb, residentMb } from './usage.ts'

/** In each round, every path has its turn. */
interface FrontSizes extends LatenessSizes {
  readonly rounds: number
  readonly warmMs: number
  readonly idleMs: number
  readonly pacedMs: number
  readonly closedMs: number
  readonly uploads: number
}

/** A section whose rows are still being filled. */
interface Table extends Section {
  readonly rows: Row[]
}

const RATE = 200
const CONNECTIONS = 32
const HOP_MS = { 50: 1, 99: 5 } as const
const RSS_MB = 130
const SAMPLE_MS = 250
/** The time for the first requests of each path, which open its connections. */
const CONNECT_MS = 250

/** Measures what a front costs compared with no proxy and with HAProxy, and what traffic costs the election. */
export async function measureFront(testbed: Testbed, sizes: FrontSizes): Promise<Section[]> {
  const { rounds, warmMs, pacedMs, closedMs, uploads, uploadBytes } = sizes
  const latency: Table = {
    title: 'Front: latency',
    about: [
      `The client sends ${RATE} requests/s at even intervals, without waiting for answers: POST with a body of 1 KiB and an answer of 2 KiB. It measures from sending to the end of the answer.`,
      'Client, target and each proxy are separate processes on loopback. **One hop**: the leader’s front. **Two hops**: a follower’s front, the leader’s front.',
      `The paths take turns of ${pacedMs / 1000} s, ${rounds} times each. HAProxy has one thread per process, and the same low priority as a front. Both fronts were busy for ${warmMs / 1000} s before.`,
    ],
    rows: [],
    notes: [],
  }
  const hops: Table = {
    title: 'Front: added latency of a hop',
    about: ['The differences between the percentiles above: one hop minus direct, and two hops minus one.'],
    rows: [],
    notes: [],
  }
  const memory: Table = {
    title: 'Front: memory',
    about: [
      `Resident memory (VmRSS, 1 MB = 10⁶ bytes) of the fronts’ processes, sampled every ${SAMPLE_MS} ms. **Peak**: the kernel’s value (VmHWM).`,
      `**Uploads**: ${uploads} of ${uploadBytes / 1e6} MB, one after the other through both fronts.`,
    ],
    rows: [],
    notes: [],
  }
  const throughput: Table = {
    title: 'Front: throughput',
    about: [
      `The same request on ${CONNECTIONS} connections. Each connection sends its next request after the answer to the one before. The paths take turns of ${closedMs / 1000} s, with one value per turn. Client, target and proxies share the machine’s cores.`,
    ],
    rows: [],
    notes: [],
  }
  const cpu: Table = {
    title: 'Front: CPU of a request',
    about: [
      'Processor time of all threads of the proxies on the path, in the same turns; for two hops, the sum of both proxies. For direct, the processor time of the target.',
    ],
    rows: [],
    notes: [],
  }
  const sections: Section[] = [latency, hops, throughput, cpu, memory]
  const loader = new Loader()
  await testbed.using(
    () => loader.stop(),
    async () => {
      await measured(latency, async () => {
        const paths = await openPaths(testbed.main)
        await testbed.using(
          () => paths.close(),
          async () => {
            if (paths.haproxy === undefined)
              latency.notes.push('HAProxy was not measured, because it is not installed.')
            const bench = new Bench(paths, loader, sizes)
            await measured(memory, () => bench.idle(memory))
            await bench.warm()
            await bench.latency(latency, hops, memory)
            await measured(memory, () => bench.uploads(memory))
            await measured(throughput, () => bench.throughput(throughput, cpu, memory))
          },
        )
      })
      sections.push(...(await measureLateness(testbed, loader, sizes)))
    },
  )
  return sections
}

class Bench {
  readonly #paths: Paths
  readonly #allPaths: readonly Path[]
  readonly #loader: Loader
  readonly #sizes: FrontSizes

  constructor(paths: Paths, loader: Loader, sizes: FrontSizes) {
    this.#paths = paths
    this.#allPaths = [paths.direct, ...paths.front, ...(paths.haproxy ?? [])]
    this.#loader = loader
    this.#sizes = sizes
  }

  async idle({ rows }: Table): Promise<void> {
    say('front: idle')
    const { idleMs } = this.#sizes
    await sleep(idleMs)
    await this.#sampling(rows, 'idle', () => sleep(idleMs))
  }

  /** Warms both fronts: V8 compiles code only after it has run for some thousands of requests. */
  async warm(): Promise<void> {
    const { warmMs } = this.#sizes
    say(`front: ${warmMs / 1000} s to warm both fronts`)
    const [, { port }] = this.#paths.front
    await this.#loader.runAll({ kind: 'closed', port, connections: CONNECTIONS, forMs: warmMs })
  }

  async latency(latency: Table, hops: Table, memory: Table): Promise<void> {
    const { rounds, pacedMs } = this.#sizes
    const rows = new Map(this.#allPaths.map((path) => [path, spread(path.what, 'ms')]))
    latency.rows.push(...rows.values())
    const ask = ({ port }: Path, forMs: number) =>
      this.#loader.runAll({ kind: 'paced', port, rate: RATE, forMs })
    say(`front: ${RATE} requests/s`)
    for (const path of this.#allPaths) await ask(path, CONNECT_MS)
    await this.#sampling(memory.rows, `under ${RATE} requests/s`, async () => {
      for (let n = 0; n < rounds; n++)
        for (const [path, row] of rows) row.values.push(...(await ask(path, pacedMs)).ms)
    })
    const { direct, front, haproxy } = this.#paths
    for (const [what, proxies, isOurs] of [
      ['front', front, true],
      ['HAProxy', haproxy, false],
    ] as const) {
      if (proxies === undefined) continue
      const [none, one, two] = [direct, ...proxies].map((path) => rows.get(path)?.values ?? []) as [
        number[],
        number[],
        number[],
      ]
      for (const percent of [50, 99] as const)
        for (const [hop, more, less] of [
          ['first', one, none],
          ['second', two, one],
        ] as const) {
          const value = percentile(more, percent / 100) - percentile(less, percent / 100)
          const target = isOurs ? atMost(HOP_MS[percent], 'ms') : undefined
          hops.rows.push(figure(`${what}: ${hop} hop, p${percent}`, 'ms', value, target))
        }
    }
  }

  async uploads({ rows, notes }: Table): Promise<void> {
    const { uploads, uploadBytes, idleMs } = this.#sizes
    say(`front: ${uploads} uploads`)
    const [, { port }] = this.#paths.front
    const job = { kind: 'upload', port, bytes: uploadBytes, count: uploads, forMs: 30_000 } as const
    const took = await this.#peaking(rows, 'peak in the uploads', RSS_MB, async () => {
      const { ms, tookMs } = await this.#loader.runAll(job)
      if (ms.length < uploads)
        throw new Error(`only ${ms.length} of ${uploads} uploads ended within ${tookMs / 1000} s`)
      return tookMs
    })
    notes.push(`Uploads through two hops: ${((uploads * uploadBytes) / 1000 / took).toFixed(0)} MB/s.`)
    await sleep(idleMs)
    await this.#sampling(rows, 'settled after the uploads', () => sleep(idleMs))
  }

  async throughput(throughput: Table, cpu: Table, memory: Table): Promise<void> {
    const { rounds, closedMs } = this.#sizes
    say(`front: ${CONNECTIONS} connections`)
    const rows = this.#allPaths.map((path) => ({
      path,
      rate: spread(path.what, 'requests/s'),
      cost: spread(path.what, 'µs'),
    }))
    const of = (path: Path) => rows.find((one) => one.path === path)!
    throughput.rows.push(...rows.map(({ rate }) => rate))
    cpu.rows.push(...rows.map(({ cost }) => cost))
    await this.#peaking(memory.rows, `peak on ${CONNECTIONS} busy connections`, undefined, async () => {
      for (let n = 0; n < rounds; n++)
        for (const { path, rate, cost } of rows) {
          const { port, proxies } = path
          const busy = proxies.length === 0 ? [this.#paths.target] : proxies
          const used = () => busy.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
          const before = used()
          const job = { kind: 'closed', port, connections: CONNECTIONS, forMs: closedMs } as const
          const { ms, tookMs } = await this.#loader.runAll(job)
          rate.values.push((ms.length * 1000) / tookMs)
          cost.values.push(((used() - before) * 1e6) / ms.length)
        }
    })
    const { front, haproxy } = this.#paths
    if (haproxy === undefined) return
    for (const [n, hop] of ['one hop', 'two hops'].entries()) {
      const [ours, theirs] = [of(front[n] as Path), of(haproxy[n] as Path)]
      const what = `${hop}, ratio of the medians (front / HAProxy)`
      throughput.notes.push(`${what}: ${ratioText(ours.rate, theirs.rate)}`)
      cpu.notes.push(`${what}: ${ratioText(ours.cost, theirs.cost)}`)
    }
  }

  /** Adds a row for each front, with samples of its memory during `act`. */
  async #sampling(rows: Row[], when: string, act: () => Promise<unknown>): Promise<void> {
    const own = this.#paths.fronts.map(({ what, pid }) => {
      const row = spread(`${what}, ${when}`, 'MB', atMost(RSS_MB, 'MB'))
      return { row, sample: () => void row.values.push(residentMb(pid)) }
    })
    rows.push(...own.map(({ row }) => row))
    const sample = () => {
      for (const one of own) one.sample()
    }
    sample()
    const timer = setInterval(sample, SAMPLE_MS)
    try {
      await act()
    } finally {
      clearInterval(timer)
    }
  }

  /** Adds a row for each front, with the peak of its memory during `act`. */
  async #peaking<R>(
    rows: Row[],
    when: string,
    limitMb: number | undefined,
    act: () => Promise<R>,
  ): Promise<R> {
    const { fronts } = this.#paths
    for (const { pid } of fronts) forgetPeak(pid)
    const result = await act()
    const target = limitMb === undefined ? undefined : atMost(limitMb, 'MB')
    for (const { what, pid } of fronts) {
      const row = spread(`${what}, ${when}`, 'MB', target)
      row.values.push(peakMb(pid))
      rows.push(row)
    }
    return result
  }
}

/** The name of the part of docs/evidence/benchmarks.md that this benchmark writes. */
export const FRONT_PART = 'front'

/** The part of the page. `quick`: a short check that the benchmark works. */
export function frontText(facts: readonly Fact[], sections: readonly Section[], quick: boolean): string {
  const haproxy: Fact = ['HAProxy', haproxyVersion() ?? 'not installed']
  return [
    '## What the front costs',
    '`npm run bench:front` and `npm run bench` write this part, all of it in one run. Percentiles are nearest-rank.',
    ...(quick ? ['**This was a quick run, with too few values for any conclusion.**'] : []),
    ...verdict(sections, [...facts, haproxy]),
    ...sections.flatMap((section) => describe(section, '###')),
  ].join('\n\n')
}
