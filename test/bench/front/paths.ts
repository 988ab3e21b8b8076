import { spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deprioritize } from '../../../agent/processes/spawn.ts'
import { FrontProcess } from '../../front/front-process.ts'
import { freePort } from '../../harness/free-port.ts'
import { Guard, ServerProcess } from '../../harness/server-process.ts'

export const TARGET = fileURLToPath(new URL('./target.ts', import.meta.url))

/** A path from the client to the target. */
export interface Path {
  readonly what: string
  readonly port: number
  /** The processes on the path, from the client to the target. */
  readonly proxies: readonly number[]
}

/** All paths to one target. */
export interface Paths {
  readonly target: number
  readonly fronts: readonly { readonly what: string; readonly pid: number }[]
  readonly direct: Path
  /** The paths with one hop and with two hops. */
  readonly front: readonly [Path, Path]
  /** `undefined` if HAProxy is not installed. */
  readonly haproxy: readonly [Path, Path] | undefined
  close(): Promise<unknown>
}

/** `undefined` if HAProxy is not installed. */
export function haproxyVersion(): string | undefined {
  const { status, stdout } = spawnSync('haproxy', ['-v'], { encoding: 'utf8' })
  return status === 0 ? /version (\S+)/.exec(stdout)?.[1] : undefined
}

/** Starts the target and all proxies, which the caller must close. `main`: the program of the fronts. */
export async function openPaths(main: string): Promise<Paths> {
  const dir = mkdtempSync(join(tmpdir(), 'front-'))
  const guard = new Guard(dir)
  const servers: ServerProcess[] = []
  const fronts: FrontProcess[] = []
  const close = async () => {
    await Promise.all([...fronts, ...servers].map((one) => one.stop()))
    await guard.close()
  }
  const serve = async (name: string, port: number, command: string, ...args: string[]) => {
    const server = new ServerProcess(command, args, join(dir, `${name}.log`))
    servers.push(server)
    guard.watch(servers)
    await server.ready(name, async () => (await fetch(`http://127.0.0.1:${port}/`)).ok)
    return server.pid
  }
  /** Gives a proxy a low priority, as an agent gives its front. */
  const withLowPriority = (pid: number) => {
    deprioritize(pid)
    return pid
  }
  const haproxy = async (name: string, to: number) => {
    const port = await freePort()
    const config = join(dir, `${name}.cfg`)
    writeFileSync(config, haproxyConfig(port, to))
    return { port, pid: withLowPriority(await serve(name, port, 'haproxy', '-db', '-f', config)) }
  }
  const front = async (targetPort: number) => {
    const one = await FrontProcess.start(targetPort, { from: '127.0.0.1' }, main)
    fronts.push(one)
    withLowPriority(one.pid)
    return one
  }
  const twoHops = (
    what: string,
    near: { readonly port: number; readonly pid: number },
    far: { readonly port: number; readonly pid: number },
  ): readonly [Path, Path] => [
    { what: `${what}, one hop`, port: far.port, proxies: [far.pid] },
    { what: `${what}, two hops`, port: near.port, proxies: [near.pid, far.pid] },
  ]
  try {
    const port = await freePort()
    const target = await serve('target', port, process.execPath, TARGET, String(port))
    const leader = await front(port)
    await leader.toLangFlow()
    const follower = await front(port)
    await follower.toLeader(leader.address)
    let peers: readonly [Path, Path] | undefined
    if (haproxyVersion() !== undefined) {
      const far = await haproxy('haproxy-far', port)
      peers = twoHops('HAProxy', await haproxy('haproxy-near', far.port), far)
    }
    return {
      target,
      fronts: [
        { what: 'the leader’s front', pid: leader.pid },
        { what: 'a follower’s front', pid: follower.pid },
      ],
      direct: { what: 'direct', port, proxies: [] },
      front: twoHops('front', follower, leader),
      haproxy: peers,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** HAProxy has one thread, because a front also handles traffic in one thread. */
function haproxyConfig(port: number, to: number): string {
  return `global
  nbthread 1
defaults
  mode http
  option forwardfor
  timeout connect 5s
  timeout client 5m
  timeout server 5m
frontend clients
  bind 127.0.0.1:${port}
  default_backend servers
backend servers
  server one 127.0.0.1:${to}
`
}
