import { execFile, execFileSync } from 'node:child_process'
import { chownSync, existsSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '../support/free-port.ts'
import { Guard, ServerProcess } from './server-process.ts'

const DEBIAN = '/usr/lib/postgresql'
const USER = 'langflow'
const PASSWORD = 'test-password'

const run = promisify(execFile)

/** The directory with the binaries of the newest version; `undefined` where none is installed. */
function binaries(): string | undefined {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN) : []
  return versions
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(DEBIAN, version, 'bin'))
    .find((bin) => ['initdb', 'postgres', 'psql', 'pg_isready'].every((name) => existsSync(join(bin, name))))
}

/** Why there can be no PostgreSQL server on this machine; `undefined`: there can. */
export function postgresMissing(): string | undefined {
  return binaries() === undefined
    ? `no PostgreSQL: install the package postgresql (initdb, postgres and psql in ${DEBIAN}/VERSION/bin)`
    : undefined
}

/** A PostgreSQL server on loopback, on a free port and with nothing in it. Nothing of it outlives the test. */
export class Postgres {
  readonly port: number
  readonly #bin: string
  readonly #dir: string
  /** Puts a command where the server's user may be, and makes it that user: PostgreSQL refuses to run as root. */
  readonly #asOwner: readonly string[]
  readonly #guard: Guard
  #server: ServerProcess | undefined
  #databases = 0

  /** @internal */
  constructor(bin: string, port: number) {
    this.port = port
    this.#bin = bin
    this.#dir = mkdtempSync(join(tmpdir(), 'postgres-'))
    this.#guard = new Guard(this.#dir)
    const owner = process.getuid?.() === 0 ? unprivileged() : undefined
    if (owner !== undefined) chownSync(this.#dir, owner.uid, owner.gid)
    this.#asOwner = [
      'env',
      `--chdir=${this.#dir}`,
      ...(owner === undefined
        ? []
        : ['setpriv', `--reuid=${owner.uid}`, `--regid=${owner.gid}`, '--clear-groups']),
    ]
  }

  /** Of the database `langflow`, as its owner, who is the superuser as well. */
  get url(): string {
    return this.#urlOf('langflow')
  }

  /** @internal */
  async create(): Promise<void> {
    const password = join(this.#dir, 'password')
    writeFileSync(password, `${PASSWORD}\n`)
    const [program, ...args] = this.#owned('initdb', [
      `--pgdata=${this.#data}`,
      `--username=${USER}`,
      `--pwfile=${password}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--no-locale',
      '--no-sync',
    ])
    await run(program, args)
    await this.start()
    await this.sql('CREATE DATABASE langflow', this.#urlOf('postgres'))
  }

  /** Starts the server over the same data and on the same port, and resolves once it takes connections. */
  async start(): Promise<void> {
    const [program, ...args] = this.#owned('postgres', [
      '-D',
      this.#data,
      ...[
        'listen_addresses=127.0.0.1',
        `port=${this.port}`,
        'unix_socket_directories=',
        'fsync=off',
        'shared_buffers=32MB',
        'max_connections=200',
      ].flatMap((setting) => ['-c', setting]),
    ])
    this.#server = new ServerProcess(program, args, join(this.#dir, 'log'))
    this.#guard.watch([this.#server])
    const asked = ['--host=127.0.0.1', `--port=${this.port}`, '--quiet']
    await this.#server.ready('postgres', async () => {
      await run(join(this.#bin, 'pg_isready'), asked)
      return true
    })
  }

  /** Ends the server as `pg_ctl stop -m fast` does: connections are cut, nothing that was committed is lost. */
  async stop(): Promise<void> {
    await this.#server?.stop('SIGINT')
    this.#guard.watch([])
  }

  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  /** The URL of another, empty database. */
  async newDatabase(): Promise<string> {
    this.#databases += 1
    const name = `database_${this.#databases}`
    await this.sql(`CREATE DATABASE ${name}`)
    return this.#urlOf(name)
  }

  /** What psql says of it: a row a line, fields separated by `|`. Rejects where any statement fails. */
  async sql(text: string, url = this.url): Promise<string> {
    const args = ['--no-psqlrc', '--no-align', '--tuples-only', '--quiet', '--set=ON_ERROR_STOP=1']
    const { stdout } = await run(join(this.#bin, 'psql'), [...args, `--command=${text}`, url])
    return stdout.trim()
  }

  /** Ends the server and removes its data. */
  async close(): Promise<void> {
    await this.stop()
    await this.#guard.close()
  }

  get #data(): string {
    return join(this.#dir, 'data')
  }

  #urlOf(database: string): string {
    return `postgresql://${USER}:${PASSWORD}@127.0.0.1:${this.port}/${database}`
  }

  #owned(name: string, args: readonly string[]): [program: string, ...args: string[]] {
    const [program, ...rest] = [...this.#asOwner, join(this.#bin, name), ...args]
    return [program as string, ...rest]
  }
}

/** Whom root runs the server as. */
function unprivileged(): { uid: number; gid: number } {
  const idOf = (name: string, which: string) =>
    Number(execFileSync('id', [which, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
  for (const name of ['postgres', 'nobody']) {
    try {
      return { uid: idOf(name, '-u'), gid: idOf(name, '-g') }
    } catch {
      // No such user.
    }
  }
  throw new Error('PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as')
}

/** Throws the sentence of `postgresMissing` where there is no PostgreSQL. */
export async function startPostgres(): Promise<Postgres> {
  const bin = binaries()
  if (bin === undefined) throw new Error(postgresMissing())
  const postgres = new Postgres(bin, await freePort())
  try {
    await postgres.create()
  } catch (error) {
    await postgres.close()
    throw error
  }
  return postgres
}
