import { execFile, execFileSync } from 'node:child_process'
import { chownSync, existsSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readProcesses } from '../../agent/processes/proc.ts'
import { freePort } from './free-port.ts'
import { Guard, ServerProcess } from './server-process.ts'

const DEBIAN = '/usr/lib/postgresql'
const USER = 'langflow'
const PASSWORD = 'test-password'

const run = promisify(execFile)

function binaries(): string | undefined {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN) : []
  return versions
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(DEBIAN, version, 'bin'))
    .find((bin) => existsSync(join(bin, 'initdb')))
}

export function postgresMissing(): string | undefined {
  return binaries() === undefined ? `no PostgreSQL in ${DEBIAN}: install the package postgresql` : undefined
}

/** The user that runs the server for root: PostgreSQL refuses to run as root. */
function unprivileged(): { uid: number; gid: number } {
  const idOf = (which: string) => Number(execFileSync('id', [which, 'postgres'], { encoding: 'utf8' }))
  return { uid: idOf('-u'), gid: idOf('-g') }
}

/** An empty PostgreSQL server on loopback. It ends with the test, even if the test is killed. */
export class Postgres {
  readonly #bin: string
  readonly #port: number
  readonly #server: ServerProcess
  readonly #guard: Guard
  #databases = 0

  constructor(bin: string, port: number, server: ServerProcess, guard: Guard) {
    this.#bin = bin
    this.#port = port
    this.#server = server
    this.#guard = guard
  }

  async newDatabase(): Promise<string> {
    this.#databases += 1
    const name = `database_${this.#databases}`
    await this.sql(`CREATE DATABASE ${name}`)
    return this.#urlOf(name)
  }

  async sql(text: string, url = this.#urlOf('postgres')): Promise<string> {
    const args = ['--no-psqlrc', '--no-align', '--tuples-only', '--quiet', '--set=ON_ERROR_STOP=1']
    const { stdout } = await run(join(this.#bin, 'psql'), [...args, `--command=${text}`, url])
    return stdout.trim()
  }

  /** Stops every process of the server: its port accepts connections, but answers nothing. */
  freeze(): void {
    this.#signal('SIGSTOP')
  }

  thaw(): void {
    this.#signal('SIGCONT')
  }

  #signal(signal: NodeJS.Signals): void {
    const { pid } = this.#server
    const all = [...readProcesses()]
    for (const [child, { ppid }] of all) {
      if (child !== pid && ppid !== pid) continue
      try {
        process.kill(child, signal)
      } catch (error) {
        // The process of a connection may have ended since.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      }
    }
  }

  async close(): Promise<void> {
    if (this.#server.alive) this.thaw()
    await this.#server.stop('SIGINT')
    await this.#guard.close()
  }

  #urlOf(database: string): string {
    return `postgresql://${USER}:${PASSWORD}@127.0.0.1:${this.#port}/${database}`
  }
}

export async function startPostgres(): Promise<Postgres> {
  const bin = binaries()
  if (bin === undefined) throw new Error(postgresMissing())
  const port = await freePort()
  const dir = mkdtempSync(join(tmpdir(), 'postgres-'))
  const guard = new Guard(dir)
  const [data, password] = [join(dir, 'data'), join(dir, 'password')]
  writeFileSync(password, `${PASSWORD}\n`)
  const command = ['env', `--chdir=${dir}`]
  if (process.getuid?.() === 0) {
    const { uid, gid } = unprivileged()
    chownSync(dir, uid, gid)
    command.push('setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups')
  }
  const [program = '', ...args] = command
  const files = [`--pgdata=${data}`, `--username=${USER}`, `--pwfile=${password}`]
  const kinds = ['--auth=scram-sha-256', '--encoding=UTF8', '--no-locale', '--no-sync']
  await run(program, [...args, join(bin, 'initdb'), ...files, ...kinds])
  const settings = [
    'listen_addresses=127.0.0.1',
    `port=${port}`,
    'unix_socket_directories=',
    'fsync=off',
    'shared_buffers=32MB',
    'max_connections=200',
  ].flatMap((setting) => ['-c', setting])
  const server = new ServerProcess(
    program,
    [...args, join(bin, 'postgres'), '-D', data, ...settings],
    join(dir, 'log'),
  )
  guard.watch([server])
  const postgres = new Postgres(bin, port, server, guard)
  try {
    await server.ready('postgres', async () => {
      await run(join(bin, 'pg_isready'), ['--host=127.0.0.1', `--port=${port}`, '--quiet'])
      return true
    })
  } catch (error) {
    await postgres.close()
    throw error
  }
  return postgres
}
