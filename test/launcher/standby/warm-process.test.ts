import assert from 'node:assert/strict'
import { ChildProcess, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { systemClock } from '../../../agent/clock.ts'
import { type WarmStandbyOptions, warmStandby } from '../../../agent/launcher/standby/warm-process.ts'
import { temporaryDirectory } from '../../harness/temporary-directory.ts'
import { until } from '../../harness/wait.ts'
import { noPython, writeFiles } from '../fixtures/write-files.ts'

const WHERE = 'import sys; print(sys.executable)'
const PYTHON = spawnSync('python3', ['-c', WHERE], { encoding: 'utf8' }).stdout?.trim()

interface Fake extends Partial<WarmStandbyOptions> {
  /** Python that the fake's `langflow run` executes before it creates its server. */
  readonly before?: string
}

/**
 * A `langflow` that creates its server as the real one does, then writes the arguments and environment of its start
 * to a file. `imports` is Python that runs when `langflow.main` is imported. The fake has no other part of LangFlow.
 */
function fakeLangflow(t: TestContext, imports = '', { before = 'pass', ...more }: Fake = {}) {
  const dir = temporaryDirectory()
  const bin = join(dir, 'bin')
  const command = join(dir, 'langflow')
  writeFiles(dir, {
    langflow: `#!${PYTHON}\n`,
    'tmp/.keep': '',
    'bin/langflow/__init__.py': '',
    'bin/langflow/__main__.py': '',
    'bin/langflow/server.py': `
class LangflowApplication:
    def __init__(self, app_factory):
        self.application = app_factory()
`,
    'bin/langflow/main.py': `import os\nopen("${dir}/tmp/pid", "w").write(str(os.getpid()) + ".")\n${imports}`,
    'bin/langflow/langflow_launcher.py': `
import json, os, sys
def main():
    os.chdir("${dir}"); ${before}
    from langflow.server import LangflowApplication
    LangflowApplication(lambda: "made")
    links = [fd for fd in ("3", "4") if os.path.realpath("/proc/self/fd/" + fd).find("socket:") >= 0]
    file, epoch = sys.modules["__main__"].__file__, os.environ.get("LEADER_EPOCH")
    note = os.environ.get("NOTE")
    with open("${dir}/seen", "w") as seen:
        json.dump({"argv": sys.argv, "file": file, "epoch": epoch, "links": links, "note": note}, seen)
    sys.exit(7)
`,
  })
  const views: string[] = []
  const options: WarmStandbyOptions = {
    command: [command, 'run', '--port', '1'],
    environment: () => ({ ...process.env, PYTHONPATH: bin, TMPDIR: join(dir, 'tmp'), LEADER_MARK: 'x' }),
    clock: systemClock,
    reaper: [],
    startTimeoutMs: 20_000,
    changed: () => views.push(`${standby.view.mode} ${standby.view.state}`),
    ...more,
  }
  const standby = warmStandby(options)
  t.after(() => standby.discard())
  return {
    dir,
    bin,
    command,
    standby,
    views,
    async prepare(): Promise<void> {
      standby.prepare()
      await standby.use()
    },
    async pid(): Promise<number> {
      const file = join(dir, 'tmp/pid')
      const isWritten = () => existsSync(file) && readFileSync(file, 'utf8').endsWith('.')
      await until('the standby imports LangFlow', isWritten)
      return Number.parseInt(readFileSync(file, 'utf8'), 10)
    },
    /** Waits until the standby is cold; returns the reason. */
    async givenUp(): Promise<string> {
      await until('the standby is cold', () => standby.view.mode === 'cold')
      return standby.view.reason ?? ''
    },
    /** Lets the standby continue until the fake exits with 7, its code for success. Returns what the fake wrote. */
    async goOn() {
      const child = standby.take()?.resume({ ...options.environment(), LEADER_EPOCH: '9' })
      assert.ok(child)
      assert.deepEqual(await once(child, 'exit'), [7, null])
      return JSON.parse(readFileSync(join(dir, 'seen'), 'utf8'))
    },
  }
}

/** A fake whose standby has been prepared. */
async function prepared(...args: Parameters<typeof fakeLangflow>) {
  const fake = fakeLangflow(...args)
  await fake.prepare()
  return fake
}

describe('a warm standby', { skip: noPython }, () => {
  test('runs no code that an earlier term has left in the user’s site-packages', async (t) => {
    const base = temporaryDirectory()
    const env = { ...process.env, PYTHONUSERBASE: base }
    const site = spawnSync(PYTHON, ['-m', 'site', '--user-site'], { env, encoding: 'utf8' }).stdout.trim()
    mkdirSync(site, { recursive: true })
    writeFileSync(join(site, 'usercustomize.py'), `open("${base}/ran", "w")`)
    const ran = () => existsSync(join(base, 'ran'))
    spawnSync(PYTHON, ['-c', ''], { env })
    assert.ok(ran())
    rmSync(join(base, 'ran'))
    const { bin, standby, prepare } = fakeLangflow(t, '', {
      environment: () => ({ ...env, PYTHONPATH: bin }),
    })
    await prepare()
    assert.deepEqual([standby.view.state, ran()], ['ready', false])
  })

  test('imports LangFlow, waits, and continues as the command with the environment of its term', async (t) => {
    const { dir, command, standby, views, goOn } = await prepared(t, 'import time')
    assert.deepEqual(views, ['warm preparing', 'warm ready'])
    assert.ok(!existsSync(join(dir, 'seen')))
    const { argv, epoch, file, links } = await goOn()
    assert.deepEqual([argv, epoch], [[command, 'run', '--port', '1'], '9'])
    assert.equal(file, command, 'dotenv searches from the folder of __main__.__file__')
    assert.deepEqual(links, [], 'the link must be closed')
    assert.deepEqual(standby.view, { mode: 'warm', state: 'none', reason: null })
    assert.equal(standby.take(), null)
  })

  /** Python that sends this text over the standby's link, as a malicious flow could. */
  const says = (text: string) => `
import os, time
data = ${text} + b"\\n"
while data:
    try:
        data = data[os.write(3, data):]
    except BlockingIOError:
        time.sleep(0.01)
time.sleep(60)`
  const NONSENSE = /^its message is not valid$/
  const SLEEP = 'import time; time.sleep(60)'
  const COLD: Record<string, [imports: string, reason: RegExp, options?: Fake]> = {
    'an import fails': ['import no_such_module', /^ModuleNotFoundError no_such_module$/],
    'an import ends the interpreter': ['import os; os._exit(3)', /^it ended \(exit code 3\)$/],
    'an import takes too long': [SLEEP, /^it took longer than 0.3 s$/, { startTimeoutMs: 300 }],
    'memory runs out': ['bytearray(1 << 62)', /^MemoryError$/],
    'its command does not start LangFlow': ['', /^"uvicorn" is not/, { command: ['uvicorn', 'app'] }],
    'its message is invalid': [says('b"none"'), NONSENSE],
    'its message is too long': [says('b"x" * 5_000_000'), NONSENSE],
  }
  for (const [name, [imports, reason, options]] of Object.entries(COLD))
    test(`is cold if ${name}`, async (t) => {
      const { standby, views } = await prepared(t, imports, options)
      const [before, why = ''] = (standby.view.reason ?? '').split('LangFlow cannot be kept warm: ')
      assert.deepEqual([before, views.at(-1)], ['', 'cold none'])
      assert.match(why, reason)
      assert.equal(standby.take(), null)
    })

  test('is cold if its process cannot be started, and can be prepared later', async (t) => {
    const { standby, views, prepare } = fakeLangflow(t)
    const { _handle } = new ChildProcess() as unknown as { _handle: { spawn: () => number } }
    // Node reports the first one by an event, the second one by an exception, and the last one before the link exists.
    for (const code of ['EAGAIN', 'ENOMEM', 'EMFILE'] as const) {
      const failing = t.mock.method(Object.getPrototypeOf(_handle), 'spawn', () => -constants.errno[code])
      await prepare()
      failing.mock.restore()
      assert.deepEqual([standby.view.mode, standby.view.reason?.includes(code)], ['cold', true])
    }
    await prepare()
    assert.equal(views.at(-1), 'warm ready')
  })

  test('is cold if it was killed, and can be prepared again', async (t) => {
    const { views, pid, givenUp, prepare } = await prepared(t)
    process.kill(await pid(), 'SIGKILL')
    assert.match(await givenUp(), /it was killed \(SIGKILL\)/)
    await prepare()
    assert.equal(views.at(-1), 'warm ready')
  })
})

/** Python that opens two files. */
const READS = `
directory = os.path.dirname(os.environ["TMPDIR"])
for name in ("settings", "missing"):
    try:
        open(f"{directory}/{name}").close()
    except OSError:
        pass
`

/** Writes a file and sets its modification time to a fixed value. */
function writeSettings(path: string, text: string): void {
  writeFileSync(path, text)
  utimesSync(path, 1, 1)
}

describe('the files that a warm standby has read', { skip: noPython }, () => {
  const CHANGES: Record<string, { path: string; change: (path: string, dir: string) => void }> = {
    'a file is written': { path: 'settings', change: (path) => writeFileSync(path, 'another') },
    'a missing file is created': { path: 'missing', change: (path) => writeFileSync(path, '') },
    'a file is replaced by one of the same size and age': {
      path: 'settings',
      change: (path, dir) => {
        writeSettings(join(dir, 'next'), 'new')
        renameSync(join(dir, 'next'), path)
      },
    },
  }
  for (const [name, { path, change }] of Object.entries(CHANGES))
    test(`are checked before the standby continues: the start is cold if ${name}`, async (t) => {
      const { dir, standby, pid, prepare } = fakeLangflow(t, READS)
      writeSettings(join(dir, 'settings'), 'old')
      await prepare()
      const old = await pid()
      change(join(dir, path), dir)
      await standby.use()
      assert.deepEqual([standby.take(), standby.view.mode], [null, 'cold'])
      assert.match(standby.view.reason ?? '', new RegExp(`${path} has changed since it was read$`))
      await until(`process ${old} has ended`, () => !existsSync(`/proc/${old}/fd/0`))
      assert.ok(!existsSync(join(dir, 'seen')))
    })

  test('include the environment: a standby with another one is not used', async (t) => {
    let TOKEN = 'one'
    const environment = () => ({ ...process.env, PYTHONPATH: bin, TOKEN })
    const { bin, standby, prepare } = fakeLangflow(t, '', { environment: () => environment() })
    await prepare()
    TOKEN = 'another'
    await standby.use()
    assert.equal(standby.take(), null)
    assert.match(standby.view.reason ?? '', /its environment has changed since it was read$/)
  })
})
