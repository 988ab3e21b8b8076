import { createHmac, randomBytes } from 'node:crypto'
import { hostname, networkInterfaces } from 'node:os'
import { fernetKey, standbyEnvironment } from './workload-environment.ts'

/** Any text would do that is the same on all replicas. */
const SECRET_TEXT = 'langflow-leader: is it the same key on all replicas?'
/** Replaces a secret key, so that two digests of one launcher can be compared. */
const OWN_KEY = randomBytes(32)

/** `null`: there is no secret key of 32 bytes. A password could be guessed from a digest with a weaker key. */
type KeyedDigest = string | null

/** Reveals only whether two replicas have the same key. */
export function digestOfSecretKey(env: NodeJS.ProcessEnv): KeyedDigest {
  const key = fernetKey(env.LANGFLOW_SECRET_KEY)
  return key && keyed(key, SECRET_TEXT, 8)
}

/**
 * Shows whether two replicas start LangFlow from the same environment, flows and other content. Variables that name the
 * pod itself are left out, because they differ in each.
 */
export function digestOfInputs(env: NodeJS.ProcessEnv, ...files: readonly (string | null)[]): KeyedDigest {
  const interfaces = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
  const ofPod = new Set([hostname(), ...interfaces.map(({ address }) => address)])
  const given = Object.entries(standbyEnvironment(env)).filter(
    ([name, value]) => !/^(HOSTNAME|POD_(NAME|UID|IP))$/.test(name) && !ofPod.has(value ?? ''),
  )
  const key = fernetKey(env.LANGFLOW_SECRET_KEY)
  return key && keyed(key, JSON.stringify([given.sort(([a], [b]) => (a < b ? -1 : 1)), ...files]), 16)
}

/** Shows whether two replicas have the same files and variables. Without a key, no other launcher can compute it. */
export function digestOfContent(env: NodeJS.ProcessEnv, text: string): string {
  return keyed(fernetKey(env.LANGFLOW_SECRET_KEY) ?? OWN_KEY, text, 12)
}

function keyed(key: Buffer, text: string, digits: number): string {
  return createHmac('sha256', key).update(text).digest('hex').slice(0, digits)
}
