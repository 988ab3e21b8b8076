import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { WarmStandby } from '../../agent/workload/warm-standby.ts'
import { freePort } from '../support/free-port.ts'
import { type Postgres, startPostgres } from '../support/postgres.ts'
import { until } from '../support/until.ts'
import { type ControlPlane, startControlPlane } from './control-plane.ts'
import { LANGFLOW_MISSING, langflowBinary, langflowEnvironment, runEcho, writeFlow } from './langflow.ts'

const PATIENCE_MS = 120_000
const SYSCALLS = '%network,%process,openat,open,creat,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2'

let plane: ControlPlane
let postgres: Postgres
let dir: string

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'warm-e2e-'))
  plane = await startControlPlane()
  postgres = await startPostgres()
})

after(async () => {
  await postgres?.close()
  await plane?.close()
  rmSync(dir, { recursive: true, force: true })
})

/** A warm standby of a real LangFlow beneath strace, and each system call that others could notice. */
async function traced(t: TestContext, args: readonly string[], env: NodeJS.ProcessEnv, port: number) {
  const binary = langflowBinary() as string
  const log = join(dir, `strace-${port}`)
  const home = join(dir, `traced-${port}`)
  const temporary = join(home, 'tmp')
  mkdirSync(temporary, { recursive: true })
  const flows = writeFlow(binary, join(home, 'flows'))
  const environment = {
    ...process.env,
    ...langflowEnvironment(home, port, flows),
    HOME: home,
    TMPDIR: temporary,
    ...env,
  }
  const reaper = [
    'strace',
    '-f',
    '-qq',
    '-y',
    '--seccomp-bpf',
    '-s',
    '200',
    '-o',
    log,
    '-e',
    `trace=${SYSCALLS}`,
    '--',
  ]
  const standby = new WarmStandby({
    command: [binary, 'run', ...args],
    environment: () => environment,
    clock: systemClock,
    parentage: { reaper, warn: () => {} },
    patienceMs: PATIENCE_MS,
    changed: () => {},
  })
  t.after(() => standby.discard())
  standby.prepare()
  await standby.settled()
  const calls = () =>
    readFileSync(log, 'utf8')
      .split('\n')
      .filter((line) => isSeen(line, temporary))
  return { standby, calls, environment }
}

/** Whether others could notice this call. */
function isSeen(line: string, temporary: string): boolean {
  const call = line.replace(/^\d+ +/, '')
  const inside = call.includes(`"${temporary}/`) || call.includes(`<${temporary}`)
  if (/^connect\(/.test(call)) return !/AF_UNIX/.test(call)
  if (/ = -1 E|^\+\+\+|^---/.test(call)) return false
  // The C library asks who a user is, and a port that is none in particular is nobody's.
  if (/^(bind|listen|accept4?)\(/.test(call)) return !/AF_UNIX|AF_NETLINK|htons\(0\)/.test(call)
  // To a socket of its own, such as that of its link.
  if (/^send(to|msg)\(/.test(call)) return !/, NULL, 0[ )]/.test(call)
  if (/^(fork|vfork|clone3?)\(/.test(call)) return !call.includes('CLONE_THREAD')
  if (/^(execve|kill|tkill|tgkill)\(/.test(call)) return true
  if (/^(open|openat|creat)\(/.test(call))
    return /O_WRONLY|O_RDWR|O_CREAT/.test(call) && !inside && !call.includes('"/dev/')
  return /^(mkdir|unlink|rename)/.test(call) && !inside
}

test('what waits has been seen by nobody: no connection, no port, no process, no file', async (t) => {
  if (langflowBinary() === undefined) return t.skip(LANGFLOW_MISSING)
  const port = await freePort()
  const url = await postgres.newDatabase()
  const { standby, calls, environment } = await traced(
    t,
    ['--backend-only'],
    { LANGFLOW_DATABASE_URL: url },
    port,
  )
  assert.deepEqual([standby.view.mode, standby.view.state, standby.view.reason], ['warm', 'ready', null])
  // strace starts it, and nothing follows.
  assert.deepEqual(calls().slice(1), [])
  const tables = `SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'`
  assert.equal(await postgres.sql(tables, url), '0')

  const child = standby.take({ ...environment, LEADER_EPOCH: '1' })
  assert.ok(child)
  t.after(() => process.kill(-child.pid, 'SIGKILL'))
  await until('it serves', async () => (await runEcho(port, 'here').catch(() => '')) === 'here', PATIENCE_MS)
  const seen = calls().join('\n')
  for (const call of [/connect\(.*AF_INET/, /bind\(/, /listen\(/, /clone/]) assert.match(seen, call)
})
