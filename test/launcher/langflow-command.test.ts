import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, type TestContext, test } from 'node:test'
import { coldStart, readLangflowCommand } from '../../agent/launcher/langflow-command.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { noPython, writeFiles } from './fixtures/write-files.ts'

/** A directory in PATH with a `langflow` script that begins with these lines. */
function installed(head: string) {
  const bin = temporaryDirectory()
  writeFiles(bin, { langflow: `${head}\nimport sys\n` })
  const script = join(bin, 'langflow')
  const env = { PATH: `/nowhere:${bin}`, PORT: '7870', NOTE: 'two words' }
  return { bin, script, read: (...command: string[]) => readLangflowCommand(command, env, '/work') }
}

describe('the command of LangFlow', () => {
  test('has the interpreter that the first line of the script names', () => {
    for (const [head, interpreter] of [
      ['#!/opt/venv/bin/python', ['/opt/venv/bin/python']],
      ['#! /usr/bin/python3.11 -I', ['/usr/bin/python3.11', '-I']],
    ] as const) {
      const { bin, script, read } = installed(head)
      const start = read('langflow', 'run', '--port', '1')
      assert.deepEqual(start.interpreter, interpreter)
      assert.deepEqual(start.argv, [script, 'run', '--port', '1'])
      assert.equal(start.importsFrom, bin)
      assert.deepEqual(read(script, 'run').argv, [script, 'run'])
    }
  })

  test('imports from the folder of the script that a link points to, as Python does', () => {
    const { bin, script, read } = installed('#!/opt/venv/bin/python')
    const link = join(temporaryDirectory(), 'langflow')
    symlinkSync(script, link)
    assert.equal(read(link, 'run').importsFrom, bin)
  })

  test('has the interpreter in PATH if the first line names "env"', () => {
    const { bin, read } = installed('#!/usr/bin/env python3')
    writeFiles(bin, { python3: '' })
    assert.deepEqual(read('langflow', 'run').interpreter, [join(bin, 'python3')])
  })

  test('can be "python -m langflow run"', () => {
    const { read } = installed('')
    const start = read('/venv/bin/python3.11', '-u', '-m', 'langflow', 'run', '--backend-only')
    assert.deepEqual(start.interpreter, ['/venv/bin/python3.11', '-u'])
    assert.deepEqual(start.argv, ['langflow', 'run', '--backend-only'])
    assert.equal(start.importsFrom, '/work')
  })

  test('can be a shell command that only starts LangFlow', () => {
    const { script, read } = installed('#!/opt/venv/bin/python')
    const start = read(
      'sh',
      '-c',
      `LANGFLOW_LOG_LEVEL=warning A='x y' exec langflow run --port $PORT --note "is \${NOTE}" --x=a'b c'`,
    )
    assert.deepEqual(start.argv, [script, 'run', '--port', '7870', '--note', 'is two words', '--x=ab c'])
    assert.deepEqual(start.environment, { LANGFLOW_LOG_LEVEL: 'warning', A: 'x y' })
    assert.deepEqual(read('/bin/bash', '-lc', ' langflow run ').argv, [script, 'run'])
  })

  const REFUSED: [command: string[], reason: RegExp][] = [
    [['uvicorn', 'app'], /^"uvicorn" is not LangFlow's command: use "langflow run …"/],
    [['langflow', 'migration'], /^"langflow" is not followed by "run"/],
    [['python', 'app.py'], /^"python" starts something other than LangFlow/],
    [['python', '-m', 'flask', 'run'], /^"python" starts something other than LangFlow/],
    [['sh', 'start.sh'], /the shell is not started as "sh -c COMMAND"/],
    [['sh', '-c', 'alembic upgrade head && langflow run'], /does more than set variables and start LangFlow/],
    [['/nowhere/langflow', 'run'], /no such file/],
    [['sh', '-c', 'export A=1; uvicorn app'], /^"uvicorn" is not LangFlow's command/],
    [['sh', '-c', 'mkdir -p /nowhere/flows; langflow run'], /^its shell script creates a directory: mount/],
    [['sh', '-c', 'PATH= langflow run'], /no such file/],
  ]
  test('is refused if it starts another program, or does more than start LangFlow', () => {
    const { read } = installed('#!/opt/venv/bin/python')
    for (const [command, message] of REFUSED)
      assert.throws(() => read(...command), { message }, command.join(' '))
  })

  test('is not in the error message, because it may contain a secret', () => {
    const { read } = installed('#!/opt/venv/bin/python')
    for (const command of [
      ['langflow', 's3cret'],
      ['python', 's3cret'],
      ['sh', '-c', 'A=s3cret langflow run; true'],
      ['sh', '-c', 'A="s3cret x" langflow run $A $NOTE'],
      ['sh', 's3cret'],
    ])
      assert.throws(
        () => read(...command),
        ({ message }: Error) => !message.includes('s3cret') && !message.includes('two words'),
      )
  })

  test('is refused if its script names no Python interpreter', () => {
    for (const head of ['#!/bin/bash', 'plain text', '']) {
      assert.throws(() => installed(head).read('langflow', 'run'), /names no Python interpreter/)
    }
  })
})

/** The part of uvicorn's `Server` that handles signals. */
const UVICORN = `
import asyncio, signal
class State:
    def __init__(self):
        self.tasks, self.connections = set(), set()
class Server:
    def __init__(self):
        self.should_exit = self.force_exit = False
        self.server_state = State()
    def handle_exit(self, sig, frame):
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        else:
            self.should_exit = True
`
/** A LangFlow that serves one request. Its argument is the kind of the request. */
const LANGFLOW = `
import asyncio, os, signal, sys
from uvicorn.server import Server
def say(*what): # unbuffered, because a signal handler may interrupt another call
    os.write(1, (" ".join(map(str, what)) + "\\n").encode())
class Transport:
    def abort(self):
        say("aborted")
class Connection:
    transport = Transport()
async def request(kind):
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            say("cancelled")
            if kind == "gives-in":
                return
async def serve(kind):
    server = Server()
    state = server.server_state
    for sig in signal.SIGTERM, signal.SIGINT:
        signal.signal(sig, lambda sig, frame: (server.handle_exit(sig, frame), say(signal.Signals(sig).name)))
    task = asyncio.create_task(request(kind))
    state.tasks.add(task)
    if kind == "gives-in":
        task.add_done_callback(state.tasks.discard)
    else:
        state.connections.add(Connection())
    say(*sys.argv[1:], sys.path[0] == os.environ["FROM"], __name__)
    while not server.force_exit and (state.tasks or not server.should_exit):
        await asyncio.sleep(0.01)
    say("forced" if server.force_exit else "shut down")
    os._exit(0)
def main():
    asyncio.run(serve(sys.argv[2]))
`

/** Starts LangFlow, and collects the lines that it prints. Resolves when it serves. */
async function serving(t: TestContext, kind: string, form: 'script' | 'module' = 'script') {
  const dir = temporaryDirectory()
  const modules = join(dir, 'modules')
  const main = 'from langflow.langflow_launcher import main\nmain()\n'
  writeFiles(dir, {
    langflow: `#!/usr/bin/env python3\n${main}`,
    'modules/uvicorn/__init__.py': '',
    'modules/uvicorn/server.py': UVICORN,
    'modules/langflow/__init__.py': '',
    'modules/langflow/__main__.py': main,
    'modules/langflow/langflow_launcher.py': LANGFLOW,
  })
  const script = join(dir, 'langflow')
  const command = form === 'script' ? [script, 'run', kind] : ['python3', '-m', 'langflow', 'run', kind]
  const env = { ...process.env, PYTHONPATH: modules, FROM: form === 'script' ? dir : process.cwd() }
  const start = coldStart(command, env)
  assert.notDeepEqual(start.command, command)
  const [program, ...args] = start.command as [string, ...string[]]
  const child = spawn(program, args, { env: start.env, stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  const printed: string[] = []
  const lines = createInterface({ input: child.stdout }).on('line', (line) => printed.push(line))
  const ended = once(child, 'close')
  const line = () =>
    Promise.race([
      once(lines, 'line'),
      ended.then(() => assert.fail(`LangFlow ended; it printed only: ${printed}`)),
    ])
  await line()
  const send = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    await line()
  }
  return { printed, ended, send }
}

describe('LangFlow, started through the cut-off script', { skip: noPython }, () => {
  for (const form of ['script', 'module'] as const)
    test(`runs the program that its command names: ${form}`, async (t) => {
      const { printed } = await serving(t, 'gives-in', form)
      assert.deepEqual(printed, ['run gives-in True langflow.langflow_launcher'])
    })

  for (const [title, kind, ends] of [
    ['cancels a request if SIGINT follows SIGTERM, and still shuts down in order', 'gives-in', ['shut down']],
    ['aborts the connection of a request that resists its cancellation', 'resists', ['aborted', 'shut down']],
  ] as const)
    test(title, async (t) => {
      const { printed, ended, send } = await serving(t, kind)
      await send('SIGTERM')
      await send('SIGINT')
      await ended
      assert.deepEqual(printed.slice(1), ['SIGTERM', 'SIGINT', 'cancelled', ...ends])
    })

  test('handles a SIGINT without a SIGTERM as uvicorn does', async (t) => {
    const { printed, send } = await serving(t, 'gives-in')
    await send('SIGINT')
    assert.deepEqual(printed.slice(1), ['SIGINT'])
  })
})

test('a command that does not start LangFlow stays unchanged', () => {
  const command = ['python3', 'other.py', 'run']
  assert.deepEqual(coldStart(command, { A: 'b' }), { command, env: { A: 'b' } })
})
