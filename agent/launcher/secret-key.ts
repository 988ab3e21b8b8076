const VARIABLE = 'LANGFLOW_SECRET_KEY'
/** What LangFlow takes as it is; of anything shorter it takes the SHA-256. */
const AS_IT_IS = 32
const ADVICE =
  "set it, the same on all replicas, to what `openssl rand -base64 32 | tr '+/' '-_'` prints (44 characters)"

/**
 * One sentence where the key in LangFlow's environment lets it encrypt nothing, or is none that replicas share; `null`:
 * nothing is known to be wrong. It never holds the key.
 */
export function faultOfSecretKey(command: readonly string[], env: NodeJS.ProcessEnv): string | null {
  if (!/\blangflow(\.__main__)?\s+run\b/.test(command.join(' '))) return null
  const key = env[VARIABLE]
  if (!key)
    return `${VARIABLE} is not in LangFlow's environment: unless its own script or env file sets one, each replica makes a key for itself, and reads no API key and no credential that another one has stored; ${ADVICE}`
  if (key.length < AS_IT_IS || isFernetKey(key)) return null
  return `${VARIABLE} is not 32 url-safe base64-encoded bytes: LangFlow runs, but can store no API key and no credential; ${ADVICE}`
}

/** As LangFlow pads it and Python's `Fernet` reads it: both alphabets, and what is in neither is skipped. */
function isFernetKey(key: string): boolean {
  const padded = key + '='.repeat((4 - (key.length % 4)) % 4)
  return /^[\w+/-]{43}=/.test(padded.replace(/[^\w+/=-]/g, ''))
}
