import { isIP } from 'node:net'
import type { Pod } from './pod.ts'

/** How only the leader is reached, with what the pod must say of itself for it. */
export type TrafficOptions =
  | { readonly mode: 'readiness' }
  | { readonly mode: 'label'; readonly pod: { readonly name: string; readonly uid: string } }
  | {
      readonly mode: 'slice'
      readonly pod: { readonly name: string; readonly uid: string; readonly ip: string }
      readonly endpointSlice: string
    }

export interface SaidTraffic {
  readonly traffic: TrafficOptions['mode']
  /** `null`: nothing was said. */
  readonly endpointSlice: string | null
}

const DEFAULT_SLICE = 'langflow-leader'
const FIELDS = { name: 'metadata.name', uid: 'metadata.uid', ip: 'status.podIP' } as const
const VARIABLES = { name: 'POD_NAME', uid: 'POD_UID', ip: 'POD_IP' } as const

/** Throws an Error that says what to change. */
export function trafficOf({ traffic: mode, endpointSlice }: SaidTraffic, pod: Pod): TrafficOptions {
  if (mode !== 'slice' && endpointSlice !== null)
    throw new Error(`--endpoint-slice is only for --traffic=slice, not for ${mode}: leave it out`)
  switch (mode) {
    case 'readiness':
      return { mode }
    case 'label': {
      const { name, uid } = complete(mode, pod, ['name', 'uid'])
      return { mode, pod: { name, uid } }
    }
    case 'slice': {
      const { name, uid, ip } = complete(mode, pod, ['name', 'uid', 'ip'])
      if (isIP(ip) === 0)
        throw new Error(`POD_IP '${ip.slice(0, 60)}' is no IP address: take it from ${FIELDS.ip}`)
      return { mode, pod: { name, uid, ip }, endpointSlice: endpointSlice ?? DEFAULT_SLICE }
    }
  }
}

function complete<K extends keyof typeof FIELDS>(mode: string, pod: Pod, needed: readonly K[]) {
  const absent = needed.filter((key) => pod[key] === null)
  if (absent.length === 0) return pod as { readonly [key in K]: string }
  const variables = listed(absent.map((key) => VARIABLES[key]))
  const fields = listed(absent.map((key) => FIELDS[key]))
  throw new Error(
    `--traffic=${mode} needs ${variables}: add ${absent.length > 1 ? 'them' : 'it'} to the container's env with ` +
      `valueFrom.fieldRef.fieldPath ${fields}; outside of a pod only --traffic=readiness works`,
  )
}

function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`
}
