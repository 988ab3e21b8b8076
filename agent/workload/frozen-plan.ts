import { readFileSync } from 'node:fs'
import { parseEnv } from 'node:util'
import { startWith } from './langflow-command.ts'
import { IMPORTED_SCRIPT } from './langflow-scripts.ts'
import type { Address } from './reach.ts'

/** Trying again will not help: the command or its environment has to be changed. */
export class UnfitError extends Error {}

/** How a LangFlow that is to be frozen is started. */
export interface FrozenPlan {
  readonly command: readonly string[]
  readonly env: NodeJS.ProcessEnv
  /** What was set for it, in sentences for the log. */
  readonly notes: readonly string[]
  /** Where its database is; `null`: it is reached in a way that cannot be tried out here, e.g. a unix socket. */
  readonly database: Address | null
  /** What it loads its flows from. */
  readonly flows: string | null
}

const POSTGRESQL_PORT = 5432
/** Options of a database URL that name another address than its host and port. */
const ELSEWHERE = ['host', 'hostaddr', 'port', 'service']
const WORKER_TIMEOUT = 'LANGFLOW_WORKER_TIMEOUT'

/**
 * What freezing asks of LangFlow. Throws an `UnfitError` where it cannot be frozen: on SQLite, of which every replica has its own, or
 * which two must not have open at once. No sentence holds a value: it may be a secret.
 */
export function planFrozen(command: readonly string[], env: NodeJS.ProcessEnv): FrozenPlan {
  const set = { ...env, ...readEnvFile(argument(command, '--env-file')) }
  const database = readDatabase(set.LANGFLOW_DATABASE_URL)
  const notes: string[] = []
  const more: NodeJS.ProcessEnv = {}
  const timeout = argument(command, '--worker-timeout') ?? set[WORKER_TIMEOUT]
  if (timeout === undefined) {
    // Gunicorn’s master would take a thawed worker for one that hangs, and replace it: 5.6 s instead of 0.04 s.
    more[WORKER_TIMEOUT] = '0'
    notes.push(`${WORKER_TIMEOUT}=0 is set for LangFlow: a frozen worker must not count as one that hangs`)
  } else if (Number(timeout) !== 0) {
    notes.push(
      `${WORKER_TIMEOUT} is not 0: LangFlow replaces its worker when it is thawed after a longer time than that; unset it`,
    )
  }
  const start = startWith(IMPORTED_SCRIPT, command, env)
  const flows = set.LANGFLOW_LOAD_FLOWS_PATH || null
  return { command: start.command, env: { ...env, ...start.env, ...more }, notes, database, flows }
}

function readDatabase(text: string | undefined): Address | null {
  const scheme = /^([a-z0-9]+)(\+\w+)?:/i.exec(text ?? '')?.[1]?.toLowerCase()
  if (scheme !== 'postgresql' && scheme !== 'postgres') {
    const what = text
      ? `its database is ${scheme === 'sqlite' ? 'SQLite' : 'no PostgreSQL'}`
      : 'LANGFLOW_DATABASE_URL is not in its environment, so that its database is SQLite unless its own script sets one'
    throw new UnfitError(
      `${what}, and a frozen standby needs a PostgreSQL that all replicas share: set LANGFLOW_DATABASE_URL for the container, or use --standby=prewarmed`,
    )
  }
  try {
    const { hostname, port, pathname, search, hash, searchParams } = new URL(text as string)
    // In a name or password that is not encoded, "/", "?" or "#" ends what is read as the host.
    const torn = `${pathname}${search}${hash}`.includes('@')
    if (hostname === '' || torn || ELSEWHERE.some((name) => searchParams.has(name))) return null
    return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port || POSTGRESQL_PORT) }
  } catch {
    // Several hosts, for one.
    return null
  }
}

/** The value of an option in the command, where the last one counts; `undefined`: it is not there. */
function argument(command: readonly string[], option: string): string | undefined {
  const at = command.findLastIndex((word) => word === option || word.startsWith(`${option}=`))
  const word = command[at]
  return word === option ? command[at + 1] : word?.slice(option.length + 1)
}

/** As LangFlow reads it: what it sets comes before the environment. One that cannot be read ends LangFlow by itself. */
function readEnvFile(path: string | undefined): NodeJS.ProcessEnv {
  if (path === undefined) return {}
  try {
    return parseEnv(readFileSync(path, 'utf8'))
  } catch {
    return {}
  }
}
