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

const SECRET_KEY = 'LANGFLOW_SECRET_KEY'
/** LangFlow uses a key of this length or more unchanged. Of a shorter one it uses the SHA-256. */
const AS_IT_IS = 32
const ADVICE =
  "set it on all replicas to the same output of `openssl rand -base64 32 | tr '+/' '-_'` (44 characters)"

/** Why LangFlow cannot encrypt with its key, or why replicas do not share it. The sentence never contains the key. */
export function faultOfSecretKey(command: readonly string[], env: NodeJS.ProcessEnv): string | null {
  if (!/\blangflow(\.__main__)?\s+run\b/.test(command.join(' '))) return null
  const key = env[SECRET_KEY]
  if (!key)
    return `${SECRET_KEY} is not in LangFlow's environment: unless a start script or an env file sets it, each replica generates its own key and cannot read API keys and credentials that another replica stored; ${ADVICE}`
  if (key.length < AS_IT_IS || fernetKey(key) !== null) return null
  return `${SECRET_KEY} is not 32 url-safe base64-encoded bytes: LangFlow runs, but cannot store API keys and credentials; ${ADVICE}`
}

/** The 32 bytes of a key, as LangFlow pads it and Python's `Fernet` reads it. It skips other characters. */
export function fernetKey(key = ''): Buffer | null {
  const padded = key + '='.repeat((4 - (key.length % 4)) % 4)
  const [, digits] = /^([\w+/-]{43})=/.exec(padded.replace(/[^\w+/=-]/g, '')) ?? []
  return digits === undefined ? null : Buffer.from(digits, 'base64url')
}
