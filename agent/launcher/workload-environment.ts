import type { Grant } from '../link/link-messages.ts'
import { ASIDE } from '../reexec.ts'

/** With the variables of LangFlow's container under their own names again. */
export function givenEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const given = (name: string) => (name.startsWith(ASIDE) ? name.slice(ASIDE.length) : name)
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [given(name), value]))
}

/**
 * The environment of LangFlow's container without any `KUBERNETES_*` and `LEADER_*`: no flow finds the API server or
 * this program's settings. Other service links (`FOO_SERVICE_HOST`) stay, because a flow may use them.
 */
export function standbyEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(KUBERNETES|LEADER)_/.test(name)))
}

/** The same, with `LEADER_EPOCH` and `LEADER_IDENTITY`, which the workload's own code may use as a fencing token. */
export function workloadEnvironment(
  env: NodeJS.ProcessEnv,
  { epoch, identity }: Pick<Grant, 'epoch' | 'identity'>,
): NodeJS.ProcessEnv {
  return { ...standbyEnvironment(env), LEADER_EPOCH: String(epoch), LEADER_IDENTITY: identity }
}

/** Whether LangFlow can store API keys and credentials: it uses a long key unchanged, and the SHA-256 of a shorter one. */
export function isUsableKey(key: string): boolean {
  return key !== '' && (key.length < 32 || fernetKey(key) !== null)
}

/** The 32 bytes of a key, as LangFlow pads it and Python's `Fernet` reads it. It skips other characters. */
export function fernetKey(key = ''): Buffer | null {
  const padded = key + '='.repeat((4 - (key.length % 4)) % 4)
  const [, digits] = /^([\w+/-]{43})=/.exec(padded.replace(/[^\w+/=-]/g, '')) ?? []
  return digits === undefined ? null : Buffer.from(digits, 'base64url')
}
