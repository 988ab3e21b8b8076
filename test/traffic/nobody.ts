import type { TrafficListener } from '../../agent/traffic/traffic.ts'

/** Listens to nothing, and wants nothing else. */
export const NOBODY: TrafficListener = { look: () => {}, changed: () => {} }
