import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isPortFree } from '../processes/port.ts'

const LOWEST = 10_240
const HIGHEST = 65_535

/**
 * Ports on which nothing listens, from below those that the kernel gives to outgoing connections: a replica that is
 * started again finds its port still free.
 */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>()
  const end = endOfQuietRange()
  while (found.size < count) {
    const port = randomInt(LOWEST, end)
    if (!found.has(port) && (await isPortFree(port))) found.add(port)
  }
  return [...found]
}

function endOfQuietRange(): number {
  try {
    const lowest = Number.parseInt(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'latin1'), 10)
    return lowest > LOWEST + 1_000 ? lowest : HIGHEST
  } catch {
    return HIGHEST
  }
}
