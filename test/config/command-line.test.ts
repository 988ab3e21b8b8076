import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, it, type TestContext, test } from 'node:test'
import { addExamples, createProgram, invocationOf, runProgram } from '../../agent/config/command-line.ts'
import { FatalError } from '../../agent/exit.ts'
import { VERSION } from '../../agent/version.ts'
import { recordingProgram } from './commands.ts'

/** Runs the program in this process, and returns its exit code, its options and its output. */
async function run(t: TestContext, args: string[], env: NodeJS.ProcessEnv = {}) {
  const { program, parsed } = recordingProgram(env)
  program.command('fail').action(() => {
    throw new FatalError('the socket directory /run/x is not writable: mount it so\nthat it is')
  })
  program.command('break').action(() => {
    throw new TypeError('a defect')
  })
  const printed = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    t.mock.method(process[name], 'write', (text: string) => {
      printed[name] += text
      return true
    })
  }
  try {
    const code = await runProgram(program, args)
    return { code, parsed, ...printed }
  } finally {
    t.mock.restoreAll()
  }
}

describe('an invalid command line', () => {
  /** Each problem, with the command that its message names. */
  const cases: [args: string[], command: string, problem: string][] = [
    [['agent', '--foo'], ' agent', "unknown option '--foo'"],
    [['agent', '--lease-nam', 'x'], ' agent', "unknown option '--lease-nam' (did you mean --lease-name?)"],
    [['--foo'], '', "unknown option '--foo'"],
    [['agnt'], '', "unknown command 'agnt' (did you mean agent?)"],
    [['agent', '--foo\nall is well'], ' agent', "unknown option '--foo\\u000aall is well'"],
    [['launch', '--foo', '--', 'x'], ' launch', "unknown option '--foo'"],
  ]
  for (const [args, command, problem] of cases)
    it(`causes one line on stderr and exit code 2: ${JSON.stringify(args)}`, async (t) => {
      const name = `langflow-leader${command}`
      const stderr = `${name}: ${problem}; see '${name} --help'\n`
      assert.deepEqual(await run(t, args), { code: 2, stdout: '', stderr, parsed: {} })
    })
})

test('without a command, the help is printed, and the exit code is 2', async (t) => {
  assert.equal((await run(t, [])).code, 2)
})

test('a LEADER_ variable that no command reads is refused, unless LangFlow or Kubernetes sets it', async (t) => {
  const { code, stderr } = await run(t, ['agent'], { LEADER_LEASE_DURATIN: '20s' })
  assert.equal(code, 2)
  assert.match(stderr, /unknown environment variable LEADER_LEASE_DURATIN/)
  const env = {
    LEADER_DRAIN_TIMEOUT: '1s',
    LEADER_EPOCH: '7',
    LEADER_SERVICE_HOST: '10.0.0.1',
    LEADER_SERVICE_PORT: '80',
    LEADER_SERVICE_PORT_HTTP: '80',
    LEADER_PORT: 'tcp://10.0.0.1:80',
    LEADER_ELECTION_PORT_80_TCP: 'tcp://10.0.0.1:80',
    LEADER_ELECTION_PORT_80_TCP_ADDR: '10.0.0.1',
    LEADERSHIP: '1',
    leader_x: '1',
  }
  const { parsed } = await run(t, ['launch', '--', 'x'], env)
  assert.deepEqual(parsed.launcher?.command, ['x'])
})

describe('the program', () => {
  const prints: [what: string, args: string[], env: NodeJS.ProcessEnv, ...printed: RegExp[]][] = [
    ['prints its version', ['--version'], {}, new RegExp(`^${VERSION} $`)],
    [
      'lists each flag with its default and its variable',
      ['agent', '--help'],
      {},
      /Timing: --lease-duration <duration> .*\(default: 15s; LEADER_LEASE_DURATION\)/,
      /--listen <address> .*\(default: :8090; LEADER_LISTEN\)/,
      /--kubeconfig <file> .*\(default: in-cluster, else \$KUBECONFIG, else ~\/\.kube\/config; LEADER_KUBECONFIG\)/,
    ],
    ['prints help even if the environment is wrong', ['agent', '--help'], { LEADER_X: '1' }, /^Usage: /],
    ['shows how to pass a command', ['run', '--help'], {}, /^Usage: .* run \[options\] -- COMMAND/],
  ]
  for (const [what, args, env, ...printed] of prints)
    it(what, async (t) => {
      const { code, stdout } = await run(t, args, env)
      assert.equal(code, 0)
      for (const pattern of printed) assert.match(stdout.replace(/\s+/g, ' '), pattern)
    })

  it('ends with exit code 1 and one line after a FatalError', async (t) => {
    const { code, stderr } = await run(t, ['fail'])
    assert.equal(code, 1)
    assert.match(stderr, /^langflow-leader: .* mount it so\\u000athat it is\n$/)
  })

  it('recognises a call by kubectl', () => {
    const called = (as: string) => invocationOf(['node', `/usr/local/bin/${as}`, 'status', ''])
    const args = ['status', '']
    assert.deepEqual(called('langflow-leader'), { name: 'langflow-leader', args })
    assert.deepEqual(called('kubectl-langflow_leader'), { name: 'kubectl langflow-leader', args })
  })

  it('ends the help of a command with examples under the name of the call', () => {
    const program = createProgram({}, 'kubectl langflow-leader')
    const command = addExamples(program.command('status'), [['Again', '--watch']])
    const help: string[] = []
    command.configureOutput({ writeOut: (text) => void help.push(text) }).outputHelp()
    const examples = help.join('').split('\nExamples:\n')[1]
    assert.equal(examples, '  # Again\n  kubectl langflow-leader status --watch\n')
  })

  it('ends with exit code 1 and a stack trace after an unexpected error', async (t) => {
    const { code, stderr } = await run(t, ['break'])
    assert.equal(code, 1)
    assert.match(stderr, /^langflow-leader: unexpected error: TypeError: a defect\n +at /)
  })
})

it('lists the commands that run in pods apart from those for people', () => {
  const main = join(import.meta.dirname, '../../agent/main.ts')
  const { stdout } = spawnSync(process.execPath, [main, '--help'], { encoding: 'utf8', env: {} })
  const [, people = '', pods = ''] = stdout.split(/^For people:$|^In pods:$/m)
  const namesIn = (part: string) => [...part.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name)
  assert.deepEqual(namesIn(pods), ['agent', 'launch', 'install', 'run'])
  for (const name of ['status', 'switchover', 'check', 'help'])
    assert.ok(namesIn(people).includes(name), name)
})
