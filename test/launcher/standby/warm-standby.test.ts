import assert from 'node:assert/strict'
import { ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { systemClock } from '../../../agent/clock.ts'
import { WarmStandby, type WarmStandbyOptions } from '../../../agent/launcher/standby/warm-standby.ts'
import type { StandbyView } from '../../../agent/link/messages.ts'
import { NO_REAPER } from '../../../agent/processes/spawn.ts'
import { until } from '../../harness/wait.ts'

const PYTHON = spawnSync('python3', ['-c', 'import sys; print(sys.executable)'], {
  encoding: 'utf8',
}).stdout?.trim()
const AGENT = join(import.meta.dirname, '../../../agent')
const skip = PYTHON ? false : 'there is no python3'

/** What `langflow run` of the stand-in does before it makes its server. */
interface Fake extends Partial<WarmStandbyOptions> {
  readonly before?: string
  /** What makes its application. */
  readonly factory?: string
}

/**
 * A `langflow` that makes its server as the real one does, and then writes down what it was started with; `imports` is what
 * its import does. Nothing else of LangFlow is there to be done ahead.
 */
function fakeLangflow(
  t: TestContext,
  imports = '',
  { before = 'pass', factory = '"made"', ...more }: Fake = {},
) {
  const dir = mkdtempSync(join(tmpdir(), 'standby-'))
  const bin = join(dir, 'bin')
  mkdirSync(join(bin, 'langflow'), { recursive: true })
  mkdirSync(join(dir, 'tmp'))
  const module = (name: string, text: string) => writeFileSync(join(bin, 'langflow', `${name}.py`), text)
  for (const name of ['__init__', '__main__']) module(name, '')
  module(
    'server',
    'class LangflowApplication:\n    def __init__(self, app_factory):\n        self.application = app_factory()\n',
  )
  module('main', `import os\nopen("${dir}/tmp/pid", "w").write(str(os.getpid()) + ".")\n${imports}`)
  module(
    'langflow_launcher',
    `
import json, os, sys
def main():
    os.chdir("${dir}"); ${before}
    from langflow.server import LangflowApplication
    LangflowApplication(lambda: ${factory})
    with open("${dir}/seen.tmp", "w") as file:
        json.dump({"argv": sys.argv, "file": sys.modules["__main__"].__file__, "epoch": os.environ.get("LEADER_EPOCH"), "links": [fd for fd in ("3", "4") if os.path.realpath("/proc/self/fd/" + fd).find("socket:") >= 0]}, file)
    os.rename("${dir}/seen.tmp", "${dir}/seen")
    sys.exit(7)
`,
  )
  const command = join(dir, 'langflow')
  writeFileSync(command, `#!${PYTHON}\n`)
  chmodSync(command, 0o755)
  const views: StandbyView[] = []
  const options: WarmStandbyOptions = {
    command: [command, 'run', '--port', '1'],
    environment: () => ({ ...process.env, PYTHONPATH: bin, TMPDIR: join(dir, 'tmp'), LEADER_MARK: 'x' }),
    clock: systemClock,
    reaper: NO_REAPER,
    startTimeoutMs: 20_000,
    changed: (view) => views.push(view),
    ...more,
  }
  const standby = new WarmStandby(options)
  t.after(() => {
    standby.discard()
    rmSync(dir, { recursive: true, force: true })
  })
  const pid = async () => {
    const file = join(dir, 'tmp/pid')
    await until('it imports', async () => existsSync(file) && readFileSync(file, 'utf8').endsWith('.'))
    return Number.parseInt(readFileSync(file, 'utf8'), 10)
  }
  return {
    dir,
    bin,
    command,
    standby,
    views,
    pid,
    seen: () => JSON.parse(readFileSync(join(dir, 'seen'), 'utf8')),
  }
}

/** The same, once it has been prepared. */
async function prepared(...args: Parameters<typeof fakeLangflow>) {
  const fake = fakeLangflow(...args)
  fake.standby.prepare()
  await fake.standby.use()
  return fake
}

/** Lets it go on to its end, with which the stand-in says that all went well. */
async function ended(standby: WarmStandby): Promise<void> {
  const child = standby.take({ ...process.env, LEADER_EPOCH: '9' })
  assert.ok(child)
  assert.deepEqual(await once(child, 'exit'), [7, null])
}

describe('a warm standby', { skip }, () => {
  test('runs nothing that an earlier term has left in the user’s site-packages', async (t) => {
    const base = mkdtempSync(join(tmpdir(), 'user-base-'))
    t.after(() => rmSync(base, { recursive: true }))
    const env = { ...process.env, PYTHONUSERBASE: base }
    const site = spawnSync(PYTHON, ['-m', 'site', '--user-site'], { env, encoding: 'utf8' }).stdout.trim()
    mkdirSync(site, { recursive: true })
    writeFileSync(join(site, 'usercustomize.py'), `open("${base}/ran", "w")`)
    const ran = () => existsSync(join(base, 'ran'))
    spawnSync(PYTHON, ['-c', ''], { env })
    assert.ok(ran())
    rmSync(join(base, 'ran'))
    const { bin, standby } = fakeLangflow(t, '', { environment: () => ({ ...env, PYTHONPATH: bin }) })
    standby.prepare()
    await standby.use()
    assert.deepEqual([standby.view.state, ran()], ['ready', false])
  })

  test('imports, waits, and goes on as the command with the environment of its term', async (t) => {
    const { dir, command, standby, views, seen } = fakeLangflow(t, 'import time')
    standby.prepare()
    standby.prepare()
    await standby.use()
    assert.deepEqual(
      views.map(({ mode, state }) => [mode, state]),
      [
        ['warm', 'preparing'],
        ['warm', 'ready'],
      ],
    )
    assert.ok((standby.view.memoryBytes ?? 0) > 1e6)
    assert.ok(!existsSync(join(dir, 'seen')))
    await ended(standby)
    assert.deepEqual([seen().argv, seen().epoch], [[command, 'run', '--port', '1'], '9'])
    assert.equal(seen().file, command, 'where dotenv looks depends on it')
    assert.deepEqual(seen().links, [], 'its link is closed')
    assert.deepEqual(standby.view, { mode: 'warm', state: 'none', reason: null, memoryBytes: null })
    assert.equal(standby.take({}), null)
  })

  test('goes on also where somebody has stopped it, while it was prepared or while it waited', async (t) => {
    const { standby, pid, seen } = fakeLangflow(t, 'import time; time.sleep(0.3)')
    standby.prepare()
    process.kill(await pid(), 'SIGSTOP')
    await standby.use()
    assert.equal(standby.view.state, 'ready')
    process.kill(await pid(), 'SIGSTOP')
    await ended(standby)
    assert.equal(seen().epoch, '9')
  })

  // What the process would do before it makes its server, by the name under which it is held.
  const ACTS = {
    'os.fork': 'os.fork() or os._exit(0)',
    'subprocess.Popen': '__import__("subprocess").run(["true"])',
    'os.system': 'os.system("true")',
    'socket.connect': '__import__("socket").socket().connect_ex(("127.0.0.1", 9))',
    'socket.bind': '__import__("socket").socket().bind(("127.0.0.1", 9))',
    'socket.getaddrinfo': '__import__("socket").getaddrinfo("localhost", 80)',
    'sqlite3.connect': '__import__("sqlite3").connect(":memory:")',
    open: 'open("outside", "a").close()',
    'os.mkdir': 'os.makedirs("outside", exist_ok=True)',
    'os.remove': 'os.path.exists("outside") and os.remove("outside")',
  }
  for (const [name, act] of Object.entries(ACTS)) {
    test(`is held before ${name}, which it does once it may`, async (t) => {
      const { dir, standby } = fakeLangflow(t, '', { before: `${act}; open("did", "w").close()` })
      const did = join(dir, 'did')
      if (name === 'os.remove') writeFileSync(join(dir, 'outside'), '')
      standby.prepare()
      await standby.use()
      assert.equal(standby.view.state, 'ready')
      assert.ok(standby.view.reason?.includes(`it waits before ${name} already`), standby.view.reason ?? '')
      assert.equal(existsSync(did), false)
      assert.equal(existsSync(join(dir, 'outside')), name === 'os.remove')
      await ended(standby)
      assert.ok(existsSync(did))
    })
  }

  test('writes what is temporary, and asks for a port that is none in particular', async (t) => {
    const { standby } = await prepared(t, '', {
      before:
        'open(os.environ["TMPDIR"] + "/a", "w").close(); open("/dev/null", "w").close(); __import__("socket").socket().bind(("127.0.0.1", 0))',
    })
    assert.doesNotMatch(standby.view.reason ?? '', /it waits before/)
  })

  test('leaves out what would act, and what is not there, and names it', async (t) => {
    const { dir, standby } = await prepared(t, '', { factory: 'open("made", "w").close()' })
    const { reason } = standby.view
    assert.match(reason ?? '', /^LangFlow is kept less warm than it could be: left out: /)
    assert.match(reason ?? '', /application \(NotBeforeGo\).* components \(ModuleNotFoundError\)/)
    assert.ok(!existsSync(join(dir, 'made')))
    await ended(standby)
    assert.ok(existsSync(join(dir, 'made')))
  })

  /** What it says on its link, as a flow might in its place. */
  const says = (text: string) => `
import os, time
data = ${text} + b"\\n"
while data:
    try:
        data = data[os.write(3, data):]
    except BlockingIOError:
        time.sleep(0.01)
time.sleep(60)`
  const TOO_LONG = '{"ready":true,"at":"\' + b"x" * 300 + b\'","without":[],"read":{}}'
  const COLD: Record<string, { imports?: string; options?: Fake; reason: RegExp }> = {
    'an import fails': { imports: 'import no_such_module', reason: /^ModuleNotFoundError no_such_module$/ },
    'an import fails with words that may hold a secret': {
      imports: 'raise ValueError("postgresql://user:s3cret@host")',
      reason: /^ValueError$/,
    },
    'an import ends the interpreter': {
      imports: 'import os; os._exit(3)',
      reason: /^it ended \(exit code 3\)$/,
    },
    'an import takes too long': {
      imports: 'import time; time.sleep(60)',
      options: { startTimeoutMs: 300 },
      reason: /^it took longer than 0.3 s$/,
    },
    'memory runs out': {
      imports: 'bytearray(1 << 62)',
      reason: /^there is too little memory: raise the memory limit of LangFlow’s container$/,
    },
    'its command is not LangFlow’s': {
      options: { command: ['uvicorn', 'app'] },
      reason: /^"uvicorn" is not "langflow run/,
    },
    'it says what none says': { imports: says('b"none"'), reason: /^it said what none says$/ },
    'it says too much': { imports: says('b"x" * 5_000_000'), reason: /^it said what none says$/ },
    'it says too much at once': { imports: says(`b'${TOO_LONG}'`), reason: /^it said what none says$/ },
  }
  for (const [name, { imports, options, reason }] of Object.entries(COLD))
    test(`is cold where ${name}`, async (t) => {
      const { standby, views } = await prepared(t, imports, options)
      const [before, why = ''] = (standby.view.reason ?? '').split('LangFlow cannot be kept warm: ')
      assert.deepEqual([before, views.at(-1)?.mode], ['', 'cold'])
      assert.match(why, reason)
      assert.equal(standby.take({}), null)
    })

  // Node tells of some of them by an event, of others by an exception, and of EMFILE before there is a link.
  for (const code of ['EAGAIN', 'ENOMEM', 'EMFILE'] as const)
    test(`is cold where no process can be had (${code}), and is prepared once one can`, async (t) => {
      const { standby, views } = fakeLangflow(t)
      const { _handle } = new ChildProcess() as unknown as { _handle: { spawn: () => number } }
      const failing = t.mock.method(Object.getPrototypeOf(_handle), 'spawn', () => -constants.errno[code])
      standby.prepare()
      await standby.use()
      failing.mock.restore()
      assert.match(standby.view.reason ?? '', new RegExp(`^LangFlow cannot be kept warm: spawn .*${code}$`))
      assert.equal(standby.view.mode, 'cold')
      standby.prepare()
      await standby.use()
      assert.equal(views.at(-1)?.state, 'ready')
    })

  test('ends with the launcher, also in the middle of an import', async (t) => {
    const { bin, command, pid } = fakeLangflow(t, 'import time; time.sleep(60)')
    const launcher = spawn(process.execPath, [
      '--input-type=module',
      '--eval',
      `
      import { systemClock as clock } from '${AGENT}/clock.ts'
      import { WarmStandby } from '${AGENT}/launcher/standby/warm-standby.ts'
      import { NO_REAPER as reaper } from '${AGENT}/processes/spawn.ts'
      const environment = () => ({ ...process.env, PYTHONPATH: ${JSON.stringify(bin)} })
      const command = ${JSON.stringify([command, 'run'])}
      new WarmStandby({ command, environment, clock, reaper, startTimeoutMs: 20_000, changed: () => {} }).prepare()
      `,
    ])
    const child = await pid()
    launcher.kill('SIGKILL')
    await until('it ends', async () => !existsSync(`/proc/${child}/fd/0`))
  })

  test('is cold once it was killed, and is prepared again', async (t) => {
    const { standby, views, pid } = await prepared(t)
    process.kill(await pid(), 'SIGKILL')
    await until('it is missed', async () => standby.view.mode === 'cold')
    assert.match(
      standby.view.reason ?? '',
      /it was killed \(SIGKILL\), .*: raise the memory limit of LangFlow’s container$/,
    )
    standby.prepare()
    await standby.use()
    assert.equal(views.at(-1)?.state, 'ready')
  })
})

/** What it looks for beside its modules, of which `.env` is only looked for. */
const READS = `
directory = os.path.dirname(os.environ["TMPDIR"])
for name in ("settings", "missing"):
    try:
        open(f"{directory}/{name}").close()
    except OSError:
        pass
from dotenv.main import _walk_to_root
list(_walk_to_root(directory))
`

/** A hundred times as fast. */
const FAST: Partial<WarmStandbyOptions> = {
  clock: { ...systemClock, after: (ms, fire) => systemClock.after(ms / 100, fire) },
  startTimeoutMs: 2_000_000,
}

function fakeWithInputs(t: TestContext, imports = '', more: Fake = FAST) {
  const fake = fakeLangflow(t, READS + imports, more)
  mkdirSync(join(fake.bin, 'dotenv'))
  writeFileSync(join(fake.bin, 'dotenv/__init__.py'), '')
  writeFileSync(join(fake.bin, 'dotenv/main.py'), 'def _walk_to_root(path):\n    yield path\n')
  writeSettings(join(fake.dir, 'settings'), 'old')
  return fake
}

/** Always of the same age. */
function writeSettings(path: string, text: string): void {
  writeFileSync(path, text)
  utimesSync(path, 1, 1)
}

describe('what a warm standby has read', { skip }, () => {
  const CHANGES: Record<string, { path: string; change: (path: string, dir: string) => void }> = {
    'a file is written': { path: 'settings', change: (path) => writeFileSync(path, 'another') },
    'a file is removed': { path: 'settings', change: (path) => rmSync(path) },
    'a file that was missing is made': { path: 'missing', change: (path) => writeFileSync(path, '') },
    'a .env is made where one was looked for': { path: '.env', change: (path) => writeFileSync(path, '') },
    'a module is written': {
      path: 'bin/langflow/server.py',
      change: (path) => appendFileSync(path, '# another'),
    },
    'a file is replaced by one of the same size and age': {
      path: 'settings',
      change: (path, dir) => {
        writeSettings(join(dir, 'next'), 'new')
        renameSync(join(dir, 'next'), path)
      },
    },
  }
  for (const [name, { path, change }] of Object.entries(CHANGES)) {
    test(`makes it be given up and prepared again where ${name}`, async (t) => {
      const { dir, standby, pid } = fakeWithInputs(t)
      standby.prepare()
      await standby.use()
      assert.equal(standby.view.state, 'ready', standby.view.reason ?? '')
      const old = await pid()
      change(join(dir, path), dir)
      await until('it is seen', async () => standby.view.mode === 'cold')
      assert.equal(
        standby.view.reason,
        `what waited warm was given up: ${join(dir, path)} has changed since it was read`,
      )
      await until('it ends', async () => !existsSync(`/proc/${old}/fd/0`))
      standby.prepare()
      await standby.use()
      assert.equal(standby.view.state, 'ready')
    })
  }

  test('includes a .env that is made in the working directory, which is looked for without being opened', async (t) => {
    const { dir, standby } = fakeWithInputs(t)
    const [before, work] = [process.cwd(), join(dir, 'work')]
    mkdirSync(work)
    process.chdir(work)
    t.after(() => process.chdir(before))
    standby.prepare()
    await standby.use()
    writeFileSync('.env', '')
    await until('it is seen', async () => standby.view.mode === 'cold')
    assert.match(standby.view.reason ?? '', /work\/\.env has changed since it was read$/)
  })

  test('includes its installed packages as a whole, not each of their files', async (t) => {
    const { bin, standby } = fakeWithInputs(t)
    mkdirSync(join(bin, 'one-1.dist-info'))
    standby.prepare()
    await standby.use()
    writeFileSync(join(bin, 'langflow/server.py'), '# another')
    await new Promise((resolve) => setTimeout(resolve, 200)) // four looks
    assert.equal(standby.view.state, 'ready')
    mkdirSync(join(bin, 'two-1.dist-info'))
    await until('it is seen', async () => standby.view.mode === 'cold')
    assert.ok(standby.view.reason?.includes(`: ${bin} has changed`), standby.view.reason ?? '')
  })

  test('is still the same where something else has changed', async (t) => {
    const { dir, standby, views } = fakeWithInputs(t, 'open(os.environ["TMPDIR"] + "/pid").close()')
    standby.prepare()
    await standby.use()
    writeFileSync(join(dir, 'tmp/pid'), 'temporary')
    writeFileSync(join(dir, 'other'), '')
    await new Promise((resolve) => setTimeout(resolve, 200)) // four looks
    assert.deepEqual(
      views.map(({ state }) => state),
      ['preparing', 'ready'],
    )
    await ended(standby)
  })

  test('is looked at from the moment on in which it is read', async (t) => {
    const { dir, standby, views } = fakeWithInputs(
      t,
      `
import time
open(os.environ["TMPDIR"] + "/has-read", "w").close()
while not os.path.exists(os.environ["TMPDIR"] + "/go-on"):
    time.sleep(0.01)
`,
    )
    standby.prepare()
    await until('it has read', async () => existsSync(join(dir, 'tmp/has-read')))
    writeFileSync(join(dir, 'settings'), 'another')
    writeFileSync(join(dir, 'tmp/go-on'), '')
    await standby.use()
    assert.deepEqual(
      views.map(({ mode, state }) => [mode, state]),
      [
        ['warm', 'preparing'],
        ['cold', 'none'],
      ],
    )
    assert.match(standby.view.reason ?? '', /settings has changed since it was read$/)
  })

  test('is looked at once more before it goes on, and it starts cold where that has changed', async (t) => {
    const { dir, standby, pid } = fakeWithInputs(t, '', {})
    standby.prepare()
    await standby.use()
    const old = await pid()
    writeFileSync(join(dir, 'settings'), 'another')
    assert.equal(standby.take({}), null)
    assert.equal(standby.view.mode, 'cold')
    assert.match(standby.view.reason ?? '', /settings has changed since it was read$/)
    await until('it ends', async () => !existsSync(`/proc/${old}/fd/0`))
    assert.ok(!existsSync(join(dir, 'seen')))
  })
})
