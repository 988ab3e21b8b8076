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

/** In each round every way has its turn. */
export interface FrontSizes extends LatenessSizes {
  readonly rounds: number
  readonly warmMs: number
  readonly idleMs: number
  readonly pacedMs: number
  readonly closedMs: number
  readonly uploads: number
}

/** That is still being filled. */
interface Table extends Section {
  readonly rows: Row[]
}

const RATE = 200
const CONNECTIONS = 32
const HOP_MS = { 50: 1, 99: 5 } as const
const RSS_MB = 130
const SAMPLE_MS = 250
/** For the first requests of each way, which find no connection open. */
const CONNECT_MS = 250

/** What a front costs beside none and beside HAProxy, and what traffic costs the election. */
export async function measureFront(testbed: Testbed, sizes: FrontSizes): Promise<Section[]> {
  const { rounds, warmMs, pacedMs, closedMs, uploads, uploadBytes } = sizes
  const latency: Table = {
    title: 'Front: latency',
    about: [
      `${RATE} requests/s at even intervals, POST with a body of 1 KiB and an answer of 2 KiB, whatever becomes of those before. From sending to the end of the answer, by the client.`,
      'Client, target and each proxy are processes of their own on loopback. **One hop**: the leader’s front. **Two hops**: a follower’s front, the leader’s front.',
      `Each way is asked for ${pacedMs / 1000} s at a time, in turns, ${rounds} times. HAProxy has one thread a process, and gives way to other processes as a front does. Both fronts were busy for ${warmMs / 1000} s before.`,
    ],
    rows: [],
    notes: [],
  }
  const hops: Table = {
    title: 'Front: added latency of a hop',
    about: ['The difference of the percentiles above: one hop to direct, and two hops to one.'],
    rows: [],
    notes: [],
  }
  const memory: Table = {
    title: 'Front: memory',
    about: [
      `Resident memory (VmRSS, 1 MB = 10⁶ bytes) of the fronts’ processes, each ${SAMPLE_MS} ms. **Peak**: the kernel’s own (VmHWM).`,
      `**Uploads**: ${uploads} of ${uploadBytes / 1e6} MB, one after the other through both fronts.`,
    ],
    rows: [],
    notes: [],
  }
  const throughput: Table = {
    title: 'Front: throughput',
    about: [
      `The same request on ${CONNECTIONS} connections, the next one on each as soon as the one before is answered, ${closedMs / 1000} s at a time, in turns. One value a turn. Client and target share the machine’s cores with what is between them.`,
    ],
    rows: [],
    notes: [],
  }
  const cpu: Table = {
    title: 'Front: CPU of a request',
    about: [
      'Processor time of all threads of the proxies on the way, both of two hops, in the same turns. Direct: the target’s own.',
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
            if (paths.haproxy === undefined) latency.notes.push('HAProxy is not installed: not measured.')
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
  readonly #ways: readonly Path[]
  readonly #loader: Loader
  readonly #sizes: FrontSizes

  constructor(paths: Paths, loader: Loader, sizes: FrontSizes) {
    this.#paths = paths
    this.#ways = [paths.direct, ...paths.front, ...(paths.haproxy ?? [])]
    this.#loader = loader
    this.#sizes = sizes
  }

  async idle({ rows }: Table): Promise<void> {
    say('front: idle')
    const { idleMs } = this.#sizes
    await sleep(idleMs)
    await this.#sampling(rows, 'idle', () => sleep(idleMs))
  }

  /** V8 compiles what runs for some thousands of requests. */
  async warm(): Promise<void> {
    const { warmMs } = this.#sizes
    say(`front: ${warmMs / 1000} s to warm both fronts`)
    const [, { port }] = this.#paths.front
    await this.#loader.runAll({ kind: 'closed', port, connections: CONNECTIONS, forMs: warmMs })
  }

  async latency(latency: Table, hops: Table, memory: Table): Promise<void> {
    const { rounds, pacedMs } = this.#sizes
    const rows = new Map(this.#ways.map((way) => [way, spread(way.what, 'ms')]))
    latency.rows.push(...rows.values())
    const ask = ({ port }: Path, forMs: number) =>
      this.#loader.runAll({ kind: 'paced', port, rate: RATE, forMs })
    say(`front: ${RATE} requests/s`)
    for (const way of this.#ways) await ask(way, CONNECT_MS)
    await this.#sampling(memory.rows, `under ${RATE} requests/s`, async () => {
      for (let n = 0; n < rounds; n++)
        for (const [way, row] of rows) row.values.push(...(await ask(way, pacedMs)).ms)
    })
    const { direct, front, haproxy } = this.#paths
    for (const [what, proxies, isOurs] of [
      ['front', front, true],
      ['HAProxy', haproxy, false],
    ] as const) {
      if (proxies === undefined) continue
      const [none, one, two] = [direct, ...proxies].map((way) => rows.get(way)?.values ?? []) as [
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
      if (ms.length < uploads) throw new Error(`${ms.length} of ${uploads} uploads in ${tookMs / 1000} s`)
      return tookMs
    })
    notes.push(`Uploads through two hops: ${((uploads * uploadBytes) / 1000 / took).toFixed(0)} MB/s.`)
    await sleep(idleMs)
    await this.#sampling(rows, 'settled after the uploads', () => sleep(idleMs))
  }

  async throughput(throughput: Table, cpu: Table, memory: Table): Promise<void> {
    const { rounds, closedMs } = this.#sizes
    say(`front: ${CONNECTIONS} connections`)
    const rows = this.#ways.map((way) => ({
      way,
      rate: spread(way.what, 'requests/s'),
      cost: spread(way.what, 'µs'),
    }))
    const of = (way: Path) => rows.find((one) => one.way === way)!
    throughput.rows.push(...rows.map(({ rate }) => rate))
    cpu.rows.push(...rows.map(({ cost }) => cost))
    await this.#peaking(memory.rows, `peak on ${CONNECTIONS} busy connections`, undefined, async () => {
      for (let n = 0; n < rounds; n++)
        for (const { way, rate, cost } of rows) {
          const { port, proxies } = way
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

  /** A row of each front, of what its memory is while something goes on. */
  async #sampling(rows: Row[], when: string, act: () => Promise<unknown>): Promise<void> {
    const own = this.#paths.fronts.map(({ what, pid }) => {
      const row = spread(`${what}, ${when}`, 'MB', atMost(RSS_MB, 'MB'))
      return { row, look: () => void row.values.push(residentMb(pid)) }
    })
    rows.push(...own.map(({ row }) => row))
    const look = () => {
      for (const one of own) one.look()
    }
    look()
    const timer = setInterval(look, SAMPLE_MS)
    try {
      await act()
    } finally {
      clearInterval(timer)
    }
  }

  /** A row of each front, of the most that its memory was while something went on. */
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

/** The name of the part of docs/evidence/benchmarks.md that this bench writes. */
export const FRONT_PART = 'front'

const REPRODUCE = `### How to reproduce

\`\`\`sh
npm run bench:front                     # less than 3 minutes
\`\`\`

It needs what \`npm run bench\` needs but Go, PID namespaces, \`tini\`, and for the comparison Debian’s package \`haproxy\`. Let the
machine do nothing else meanwhile.`

/** The part of the page. `quick`: only to see that the bench works. */
export function frontText(facts: readonly Fact[], sections: readonly Section[], quick: boolean): string {
  const haproxy: Fact = ['HAProxy', haproxyVersion() ?? 'not installed']
  return [
    '## What the front costs',
    'Written by `npm run bench:front`, all of it in one run, and by `npm run bench`. Percentiles are nearest-rank.',
    ...(quick ? ['**A quick run: too few values, and no quiet machine, to conclude anything from.**'] : []),
    ...verdict(sections, [...facts, haproxy]),
    ...sections.flatMap((section) => describe(section, '###')),
    REPRODUCE,
  ].join('\n\n')
}
