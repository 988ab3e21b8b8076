import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { warmStandby } from '../../agent/launcher/standby/warm-process.ts'
import { fixture, podOf } from '../cli/inject/streams.ts'
import { freePort } from '../harness/free-port.ts'
import {
  LANGFLOW_MISSING,
  langflowBinary,
  langflowEnvironment,
  runEcho,
  writeFlow,
} from '../harness/langflow.ts'
import { startPostgres } from '../harness/postgres.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { until } from '../harness/wait.ts'

const SERVES_WITHIN_MS = 120_000
const binary = langflowBinary() as string
const skip = binary === undefined && LANGFLOW_MISSING
const SYSCALLS = '%network,%process,openat,open,creat,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2'

const dir = temporaryDirectory()
const postgres = await startPostgres()
after(() => postgres.close())

/** Prepares a warm standby with a home directory of its own. */
async function warm(
  t: TestContext,
  command: (port: number) => readonly string[],
  env: NodeJS.ProcessEnv,
  reaper: readonly string[] = [],
) {
  const port = await freePort()
  const home = join(dir, String(port))
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
  const standby = warmStandby({
    command: command(port),
    environment: () => environment,
    clock: systemClock,
    reaper,
    startTimeoutMs: SERVES_WITHIN_MS,
    changed: () => {},
  })
  t.after(() => standby.discard())
  standby.prepare()
  await standby.use()
  /** Lets the standby continue, and waits until it answers. */
  const go = async (run = () => runEcho(port, 'here')) => {
    const child = standby.take()?.resume({ ...environment, LEADER_EPOCH: '1' })
    assert.ok(child)
    t.after(() => child.exitCode === null && child.signalCode === null && process.kill(-child.pid, 'SIGKILL'))
    await until('LangFlow serves', async () => (await run().catch(() => '')) === 'here', SERVES_WITHIN_MS)
    return child
  }
  return { standby, temporary, go }
}

/** Kills LangFlow with all of its processes, and resolves once it is gone. */
async function killed(child: Awaited<ReturnType<Awaited<ReturnType<typeof warm>>['go']>>): Promise<void> {
  const ended = once(child, 'exit')
  process.kill(-child.pid, 'SIGKILL')
  await ended
}

/** Whether a system call has an effect outside of the standby's own processes and temporary directory. */
function isSeen(line: string, temporary: string): boolean {
  const call = line.replace(/^\d+ +/, '')
  const inside = call.includes(`"${temporary}/`) || call.includes(`<${temporary}`)
  if (/^connect\(/.test(call)) return !/AF_UNIX/.test(call)
  if (/ = -1 E|^\+\+\+|^---/.test(call)) return false
  // The C library uses unix and netlink sockets for lookups, and port 0 claims no particular port.
  if (/^(bind|listen|accept4?)\(/.test(call)) return !/AF_UNIX|AF_NETLINK|htons\(0\)/.test(call)
  // A message without an address goes to a connected socket of its own, such as the link.
  if (/^send(to|msg)\(/.test(call)) return !/, NULL, 0[ )]/.test(call)
  if (/^(fork|vfork|clone3?)\(/.test(call)) return !call.includes('CLONE_THREAD')
  if (/^(execve|kill|tkill|tgkill)\(/.test(call)) return true
  if (/^(open|openat|creat)\(/.test(call))
    return /O_WRONLY|O_RDWR|O_CREAT/.test(call) && !inside && !call.includes('"/dev/')
  return /^(mkdir|unlink|rename)/.test(call) && !inside
}

/** Writes a component that imports a module of its own, which notes the epoch of each import in a file. Returns the variables for it. */
function writeComponent(own: string, log: string): NodeJS.ProcessEnv {
  mkdirSync(join(own, 'components', 'mine'), { recursive: true })
  const helper =
    'import os\nopen(os.environ["HELPER_LOG"], "a").write(os.environ.get("LEADER_EPOCH", "none") + "\\n")\n'
  writeFileSync(join(own, 'helper.py'), helper)
  const component = `import helper
from lfx.custom import Component
from lfx.io import Output
from lfx.schema import Data


class Mine(Component):
    display_name = "Mine"
    outputs = [Output(name="out", display_name="Out", method="build_out")]

    def build_out(self) -> Data:
        return Data(value="mine")
`
  writeFileSync(join(own, 'components', 'mine', 'mine.py'), component)
  return { LANGFLOW_COMPONENTS_PATH: join(own, 'components'), PYTHONPATH: own, HELPER_LOG: log }
}

test('warm standbys on one database', { skip }, async (t) => {
  const url = await postgres.newDatabase()

  await t.test(
    'until its grant, it opens no connection and no port, starts no process, changes no file, and imports no module of a component',
    async (t) => {
      const own = temporaryDirectory()
      const [log, epochs] = [join(dir, 'strace'), join(own, 'epochs')]
      const options = ['-f', '-qq', '-y', '--seccomp-bpf', '-s', '200', '-o', log, '-e', `trace=${SYSCALLS}`]
      const env = { LANGFLOW_DATABASE_URL: url, ...writeComponent(own, epochs) }
      const reaper = ['strace', ...options, '--']
      const { standby, temporary, go } = await warm(t, () => [binary, 'run', '--backend-only'], env, reaper)
      // strace may be writing the last line, that of the message that the standby is ready.
      const calls = () =>
        readFileSync(log, 'utf8')
          .split('\n')
          .slice(0, -1)
          .filter((line) => isSeen(line, temporary))
      assert.deepEqual([standby.view.mode, standby.view.state, standby.view.reason], ['warm', 'ready', null])
      // The first call is strace starting the standby.
      assert.deepEqual(calls().slice(1), [])
      const tables = `SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'`
      assert.equal(await postgres.sql(tables, url), '0')
      assert.equal(existsSync(epochs), false)

      const child = await go()
      const seen = calls().join('\n')
      for (const call of [/connect\(.*AF_INET/, /bind\(/, /listen\(/, /clone/]) assert.match(seen, call)
      await until('the import of the helper module', () => existsSync(epochs), SERVES_WITHIN_MS)
      assert.deepEqual(new Set(readFileSync(epochs, 'utf8').trim().split('\n')), new Set(['1']))
      await killed(child)
    },
  )

  await t.test(
    'the next one checks the tables only once if they match its models, and exits if they do not',
    async (t) => {
      const own = temporaryDirectory()
      const log = join(own, 'looks')
      // Python imports sitecustomize first, so the check is wrapped before LangFlow uses it.
      const counting = `import os
from alembic import command
usual = command.check
def check(config):
    open(os.environ["LOOKS"], "a").write("a look\\n")
    usual(config)
command.check = check
`
      writeFileSync(join(own, 'sitecustomize.py'), counting)
      const env = { LANGFLOW_DATABASE_URL: url, PYTHONPATH: own, LOOKS: log }
      const start = () => warm(t, () => [binary, 'run', '--backend-only'], env)
      const looks = () => readFileSync(log, 'utf8').trim().split('\n').length
      const { go } = await start()
      await killed(await go())
      assert.equal(looks(), 1)

      rmSync(log)
      await postgres.sql('ALTER TABLE "user" ADD COLUMN stray integer', url)
      const { standby } = await start()
      const child = standby.take()?.resume({ LEADER_EPOCH: '3' })
      assert.ok(child)
      const [code] = await once(child, 'exit', { signal: AbortSignal.timeout(SERVES_WITHIN_MS) })
      assert.notEqual(code, 0)
      assert.equal(looks(), 2)
    },
  )
})

// The unit tests of the start scripts cover that of langflow-runtime, which sets no variables.
test("the start script of the chart langflow-ide gives a warm standby, which then serves with the script's variables", {
  skip,
}, async (t) => {
  const { command = [], args = [] } = podOf(fixture('langflow-ide'), 'StatefulSet').containers[0]!
  const url = await postgres.newDatabase()
  const { username, password, hostname, port, pathname } = new URL(url)
  const here = (port: number) =>
    [...command, ...args].map((word) => word.replace('7860', String(port)).replace('0.0.0.0', '127.0.0.1'))
  const { standby, go } = await warm(t, here, {
    PATH: [dirname(binary), process.env.PATH].join(delimiter),
    LANGFLOW_BACKEND_ONLY: 'true',
    LF_CHART_EXTERNALDB_DRIVER: 'postgresql',
    LF_CHART_EXTERNALDB_HOST: hostname,
    LF_CHART_EXTERNALDB_PORT: port,
    LF_CHART_EXTERNALDB_USER: username,
    LF_CHART_EXTERNALDB_PASSWORD: password,
    LF_CHART_EXTERNALDB_DATABASE: pathname.slice(1),
  })
  assert.deepEqual([standby.view.mode, standby.view.state, standby.view.reason], ['warm', 'ready', null])
  const flows = `SELECT count(*) FROM information_schema.tables WHERE table_name = 'flow'`
  assert.equal(await postgres.sql(flows, url), '0')
  await go()
  assert.equal(await postgres.sql(flows, url), '1')
})
