import { spawnSync } from 'node:child_process'
import { cpus, release, totalmem, type } from 'node:os'
import type { ControlPlane } from '../e2e/control-plane.ts'
import type { Peer } from './peer.ts'

export type Fact = readonly [name: string, value: string]

/** On what it was measured. */
export async function machineFacts(plane: ControlPlane, peer: Peer | string): Promise<Fact[]> {
  const { stdout } = await plane.kubectl(['get', '--raw=/version'])
  const { gitVersion } = JSON.parse(stdout) as { gitVersion: string }
  const processors = cpus()
  return [
    ['date', new Date().toISOString().slice(0, 16).replace('T', ' ').concat(' UTC')],
    ['cores', `${processors.length} (${processors[0]?.model.trim() || 'model unknown'})`],
    ['memory', `${(totalmem() / 2 ** 30).toFixed(0)} GiB`],
    ['kernel', `${type()} ${release()}`],
    ['Node', process.version],
    ['kube-apiserver', `${gitVersion}, with one etcd without fsync, all on loopback`],
    [
      'client-go',
      typeof peer === 'string' ? `not measured: ${peer}` : `${peer.version}, built with ${goVersion()}`,
    ],
  ]
}

function goVersion(): string {
  return spawnSync('go', ['env', 'GOVERSION'], { encoding: 'utf8' }).stdout.trim()
}
