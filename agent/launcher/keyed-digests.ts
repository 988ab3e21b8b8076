import { createHmac, randomBytes } from 'node:crypto'
import { hostname, networkInterfaces } from 'node:os'
import { fernetKey, standbyEnvironment } from './workload-environment.ts'

const SECRET_DIGITS = 8
const INPUTS_DIGITS = 16
const CONTENT_DIGITS = 12
/** The text that the key is applied to. Any text would do that is the same on all replicas. */
const SECRET_TEXT = 'langflow-leader: is it the same key on all replicas?'
/** Replaces a secret key, so that two digests of one launcher can be compared. */
const OWN_KEY = randomBytes(32)

/**
 * Reveals only whether two replicas have the same key. `null`: there is no key, or not one of 32 bytes, since a
 * password could be guessed from its digest.
 */
export function digestOfSecretKey({ LANGFLOW_SECRET_KEY: key = '' }: NodeJS.ProcessEnv): string | null {
  return keyed(key, SECRET_TEXT)?.slice(0, SECRET_DIGITS) ?? null
}

/**
 * Shows whether two replicas start LangFlow from the same environment, flows and other content, and reveals nothing of
 * them: it is keyed with the secret key, and is `null` without one of 32 bytes. Variables that name the pod itself are
 * left out, because they differ in each.
 */
export function digestOfInputs(env: NodeJS.ProcessEnv, ...files: readonly (string | null)[]): string | null {
  const addresses = Object.values(networkInterfaces()).flatMap(
    (all) => all?.map(({ address }) => address) ?? [],
  )
  const ofPod = new Set([hostname(), ...addresses])
  const given = Object.entries(standbyEnvironment(env)).filter(
    ([name, value]) => !/^(HOSTNAME|POD_(NAME|UID|IP))$/.test(name) && !ofPod.has(value ?? ''),
  )
  const text = JSON.stringify([given.sort(([a], [b]) => (a < b ? -1 : 1)), ...files])
  return keyed(env.LANGFLOW_SECRET_KEY ?? '', text)?.slice(0, INPUTS_DIGITS) ?? null
}

/**
 * Shows whether two replicas have the same files and variables. It may contain secrets, so it is keyed. Without a secret
 * key of 32 bytes, no other launcher can compute it.
 */
export function digestOfContent({ LANGFLOW_SECRET_KEY: key = '' }: NodeJS.ProcessEnv, text: string): string {
  const hmac = createHmac('sha256', fernetKey(key) ?? OWN_KEY)
  return hmac.update(text).digest('hex').slice(0, CONTENT_DIGITS)
}

function keyed(key: string, text: string): string | null {
  const bytes = fernetKey(key)
  return bytes === null ? null : createHmac('sha256', bytes).update(text).digest('hex')
}
