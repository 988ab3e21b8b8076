import { spawnSync } from 'node:child_process'
import type { Fact } from '../support/machine.ts'
import type { Peer } from './peer.ts'

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
