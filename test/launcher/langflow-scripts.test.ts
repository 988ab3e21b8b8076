import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, type TestContext, test } from 'node:test'
import { startWith } from '../../agent/launcher/langflow-command.ts'
import { PLAIN_SCRIPT } from '../../agent/launcher/langflow-scripts.ts'

const skip = spawnSync('python3', ['--version']).status !== 0 && 'there is no python3'

/** What `Server` of uvicorn has to do with signals, and a LangFlow that serves one request, as its argument says. */
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
const LANGFLOW = `
import asyncio, os, signal, sys
from uvicorn.server import Server
def say(*what):
    print(*what, flush=True)
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
    if kind == "gives-in":
        task = asyncio.create_task(request(kind))
        state.tasks.add(task)
        task.add_done_callback(state.tasks.discard)
    else:
        state.tasks.add(asyncio.create_task(request(kind)))
        state.connections.add(Connection())
    say(*sys.argv[1:], sys.path[0] == os.environ["FROM"], __name__)
    while not server.force_exit and (state.tasks or not server.should_exit):
        await asyncio.sleep(0.01)
    say("forced" if server.force_exit else "shut down")
    os._exit(0)
def main():
    asyncio.run(serve(sys.argv[2]))
`

/** LangFlow's words, once it serves. */
async function serving(t: TestContext, kind: string, form: 'script' | 'module' = 'script') {
  const dir = mkdtempSync(join(tmpdir(), 'scripts-'))
  const modules = join(dir, 'modules')
  for (const [path, text] of [
    ['uvicorn/__init__.py', ''],
    ['uvicorn/server.py', UVICORN],
    ['langflow/__init__.py', ''],
    ['langflow/langflow_launcher.py', LANGFLOW],
    ['langflow/__main__.py', 'from langflow.langflow_launcher import main\nmain()\n'],
  ] as const) {
    mkdirSync(join(modules, path, '..'), { recursive: true })
    writeFileSync(join(modules, path), text)
  }
  const script = join(dir, 'langflow')
  writeFileSync(script, '#!/usr/bin/env python3\nfrom langflow.langflow_launcher import main\nmain()\n')
  chmodSync(script, 0o755)
  const command = form === 'script' ? [script, 'run', kind] : ['python3', '-m', 'langflow', 'run', kind]
  const env = { ...process.env, PYTHONPATH: modules, FROM: form === 'script' ? dir : process.cwd() }
  const start = startWith(PLAIN_SCRIPT, command, env)
  assert.notDeepEqual(start.command, command)
  const [program, ...args] = start.command as [string, ...string[]]
  const child: ChildProcess = spawn(program, args, { env: start.env, stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => {
    child.kill('SIGKILL')
    rmSync(dir, { recursive: true })
  })
  const said: string[] = []
  const lines = createInterface({ input: child.stdout! }).on('line', (line) => said.push(line))
  await once(lines, 'line')
  const hears = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    await once(lines, 'line')
  }
  return { said, child, hears }
}

describe('LangFlow, started beneath a script', { skip }, () => {
  for (const form of ['script', 'module'] as const)
    test(`is what its command would start: ${form}`, async (t) => {
      const { said } = await serving(t, 'gives-in', form)
      assert.deepEqual(said, ['run gives-in True langflow.langflow_launcher'])
    })

  test('goes on with a request after SIGTERM, and cancels it at a SIGINT, without skipping its own end', async (t) => {
    const { said, child, hears } = await serving(t, 'gives-in')
    await hears('SIGTERM')
    await hears('SIGINT')
    await once(child, 'close')
    assert.deepEqual(said.slice(1), ['SIGTERM', 'SIGINT', 'cancelled', 'shut down'])
  })

  test('leaves behind what does not let itself be cancelled', async (t) => {
    const { said, child, hears } = await serving(t, 'resists')
    await hears('SIGTERM')
    await hears('SIGINT')
    await once(child, 'close')
    assert.deepEqual(said.slice(1), ['SIGTERM', 'SIGINT', 'cancelled', 'aborted', 'shut down'])
  })

  test('takes a SIGINT alone as uvicorn does', async (t) => {
    const { said, hears } = await serving(t, 'gives-in')
    await hears('SIGINT')
    assert.deepEqual(said.slice(1), ['SIGINT'])
  })
})

test('what is not LangFlow is started as it is', () => {
  const command = ['python3', 'other.py', 'run']
  assert.deepEqual(startWith(PLAIN_SCRIPT, command, { A: 'b' }), { command, env: { A: 'b' } })
})
