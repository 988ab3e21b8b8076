import { execFile, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { ControlPlane } from '../harness/control-plane.ts'
import { type Line, LoggedProcess } from '../harness/logged-process.ts'
import type { Fact } from '../harness/report.ts'
import type { Candidate, Side } from './contest.ts'
import type { Testbed } from './testbed.ts'

const SOURCE = join(import.meta.dirname, '../../../shared/peer-clientgo')
const BUILD_MS = 600_000

export interface Peer {
  readonly program: string
  /** Of client-go. */
  readonly version: string
}

/** Builds the peer. Resolves to a reason where that is not possible here. */
export async function buildPeer(testbed: Testbed): Promise<Peer | string> {
  if (!existsSync(SOURCE)) return 'the peer’s source (`../shared/peer-clientgo`) is not there'
  if (spawnSync('go', ['version']).status !== 0) return 'Go is not installed'
  const program = testbed.path('peer-clientgo')
  try {
    await promisify(execFile)('go', ['build', '-o', program, '.'], { cwd: SOURCE, timeout: BUILD_MS })
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1)
    return `\`go build\` failed: ${said || (error as Error).message}`
  }
  const version = /k8s\.io\/client-go (\S+)/.exec(readFileSync(join(SOURCE, 'go.mod'), 'utf8'))?.[1]
  return { program, version: version ?? 'of unknown version' }
}

/** client-go's elector alone, which releases when it is told to end; 15 s, 10 s, 2 s as well. */
export class PeerSide implements Side {
  readonly name = 'client-go'
  readonly lease = 'peer'
  readonly #testbed: Testbed
  readonly #peer: Peer

  constructor(testbed: Testbed, peer: Peer) {
    this.#testbed = testbed
    this.#peer = peer
  }

  async enter(namespace: string): Promise<(identity: string) => Promise<PeerCandidate>> {
    const { plane } = this.#testbed
    await grantLeases(plane, namespace)
    return async (identity) => {
      // An account each, by which the audit log tells them apart.
      await plane.kubectl(['create', 'serviceaccount', identity, `--namespace=${namespace}`])
      const kubeconfig = await plane.serviceAccountKubeconfig(namespace, identity)
      return new PeerCandidate(
        this.#testbed.keep(
          new LoggedProcess(identity, [
            this.#peer.program,
            `--kubeconfig=${kubeconfig}`,
            `--namespace=${namespace}`,
            `--lease=${this.lease}`,
            `--id=${identity}`,
            '--release=true',
          ]),
        ),
      )
    }
  }
}

/** What a client-go elector needs, to every account of the namespace. */
async function grantLeases(plane: ControlPlane, namespace: string): Promise<void> {
  const here = `--namespace=${namespace}`
  const verbs = '--verb=get,create,update'
  await plane.kubectl(['create', 'role', 'peer', verbs, '--resource=leases.coordination.k8s.io', here])
  const group = `--group=system:serviceaccounts:${namespace}`
  await plane.kubectl(['create', 'rolebinding', 'peer', '--role=peer', group, here])
}

export class PeerCandidate implements Candidate {
  readonly process: LoggedProcess

  constructor(process: LoggedProcess) {
    this.process = process
  }

  get identity(): string {
    return this.process.name
  }

  async ready(): Promise<void> {
    await this.#said('new_leader')
  }

  async leads(): Promise<void> {
    await this.#said('started_leading')
  }

  async released(): Promise<number> {
    return Number((await this.#said('stopped_leading')).ts) / 1e6
  }

  async acquired(): Promise<number> {
    return Number((await this.#said('started_leading')).ts) / 1e6
  }

  kill(): void {
    this.process.signal('SIGKILL')
  }

  #said(event: string): Promise<Line> {
    return this.process.find(event, (line) => (line.event as string | undefined) === event)
  }
}

/** Which client-go was measured, or why none was. */
export function peerFact(peer: Peer | string): Fact {
  return [
    'client-go',
    typeof peer === 'string' ? `not measured: ${peer}` : `${peer.version}, built with ${goVersion()}`,
  ]
}

function goVersion(): string {
  return spawnSync('go', ['env', 'GOVERSION'], { encoding: 'utf8' }).stdout.trim()
}
