import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { runProgram } from '../../agent/config/program.ts'
import { FatalError } from '../../agent/exit.ts'
import { VERSION } from '../../agent/version.ts'
import { type Parsed, programThatTells } from './commands.ts'

/** Runs the program in this process and keeps what it prints. */
async function run(t: TestContext, args: string[], env: NodeJS.ProcessEnv = {}) {
  const { program, parsed } = programThatTells(env)
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

describe('a command line that cannot be understood', () => {
  const cases: [args: string[], line: string][] = [
    [['agent', '--foo'], "langflow-leader agent: unknown option '--foo'; see 'langflow-leader agent --help'"],
    [
      ['agent', '--lease-nam', 'x'],
      "langflow-leader agent: unknown option '--lease-nam' (did you mean --lease-name?); see 'langflow-leader agent --help'",
    ],
    [['--foo'], "langflow-leader: unknown option '--foo'; see 'langflow-leader --help'"],
    [[], "langflow-leader: missing command; see 'langflow-leader --help'"],
    [['agnt'], "langflow-leader: unknown command 'agnt' (did you mean agent?); see 'langflow-leader --help'"],
    [
      ['agent', 'x'],
      "langflow-leader agent: too many arguments for 'agent'. Expected 0 arguments but got 1; see 'langflow-leader agent --help'",
    ],
    [
      ['agent', '--lease-name'],
      "langflow-leader agent: option '--lease-name <name>' argument missing; see 'langflow-leader agent --help'",
    ],
    [
      ['agent', '--foo\nlangflow-leader: all is well'],
      "langflow-leader agent: unknown option '--foo\\u000alangflow-leader: all is well'; see 'langflow-leader agent --help'",
    ],
    [
      ['launch', '--foo', '--', 'x'],
      "langflow-leader launch: unknown option '--foo'; see 'langflow-leader launch --help'",
    ],
  ]
  for (const [args, line] of cases) {
    it(`is one line on stderr and exit code 2: ${JSON.stringify(args)}`, async (t) => {
      const { code, stdout, stderr, parsed } = await run(t, args)
      assert.equal(stderr, `${line}\n`)
      assert.equal(stdout, '')
      assert.equal(code, 2)
      assert.deepEqual(parsed, {} satisfies Parsed)
    })
  }
})

describe('a LEADER_ variable that nothing reads', () => {
  it('is an error that names the nearest', async (t) => {
    const { code, stderr } = await run(t, ['agent'], { LEADER_LEASE_DURATIN: '20s' })
    assert.equal(code, 2)
    assert.equal(
      stderr,
      "langflow-leader agent: unknown environment variable LEADER_LEASE_DURATIN (did you mean LEADER_LEASE_DURATION?); see 'langflow-leader agent --help'\n",
    )
  })

  it('is an error that says to remove it where none is near', async (t) => {
    const { code, stderr } = await run(t, ['launch', '--', 'x'], { LEADER_OF_THE_PACK: '1' })
    assert.equal(code, 2)
    assert.match(
      stderr,
      /^langflow-leader launch: unknown environment variable LEADER_OF_THE_PACK .*remove it; see/,
    )
  })

  it('is no error where another command reads it', async (t) => {
    const { code, parsed } = await run(t, ['launch', '--', 'x'], { LEADER_LEASE_NAME: 'other' })
    assert.equal(code, 0)
    assert.deepEqual(parsed.launcher?.command, ['x'])
  })

  it('is no error where LangFlow was given it, or Kubernetes adds it for a Service', async (t) => {
    const { code, stderr } = await run(t, ['agent', '--identity', 'me'], {
      LEADER_EPOCH: '7',
      LEADER_SERVICE_HOST: '10.0.0.1',
      LEADER_SERVICE_PORT: '80',
      LEADER_SERVICE_PORT_HTTP: '80',
      LEADER_PORT: 'tcp://10.0.0.1:80',
      LEADER_ELECTION_PORT_80_TCP: 'tcp://10.0.0.1:80',
      LEADER_ELECTION_PORT_80_TCP_ADDR: '10.0.0.1',
    })
    assert.equal(stderr, '')
    assert.equal(code, 0)
  })

  it('is only one that begins so', async (t) => {
    assert.equal((await run(t, ['agent'], { LEADERSHIP: '1', leader_x: '1' })).code, 0)
  })
})

describe('the program', () => {
  it('prints its version', async (t) => {
    const { code, stdout } = await run(t, ['--version'])
    assert.equal(stdout, `${VERSION}\n`)
    assert.equal(code, 0)
  })

  it('lists each flag with its default and its variable', async (t) => {
    const { code, stdout } = await run(t, ['agent', '--help'])
    assert.equal(code, 0)
    const help = stdout.replace(/\s+/g, ' ')
    assert.match(
      help,
      /Timing: --preset .* --lease-duration <duration> .*\(default: 15s; fast: 6s; LEADER_LEASE_DURATION\)/,
    )
    assert.match(help, /--listen <address> .*\(default: :8090; LEADER_LISTEN\)/)
    assert.match(
      help,
      /--kubeconfig <file> .*\(default: in-cluster, else \$KUBECONFIG, else ~\/\.kube\/config; LEADER_KUBECONFIG\)/,
    )
  })

  it('prints help also where the environment is wrong', async (t) => {
    assert.equal((await run(t, ['agent', '--help'], { LEADER_X: '1' })).code, 0)
  })

  it('shows how a command is given', async (t) => {
    assert.match(
      (await run(t, ['run', '--help'])).stdout,
      /^Usage: langflow-leader run \[options\] -- COMMAND\.\.\.$/m,
    )
  })

  it('ends with 1 and one line after a failure that was foreseen', async (t) => {
    const { code, stderr } = await run(t, ['fail'])
    assert.equal(code, 1)
    assert.equal(
      stderr,
      'langflow-leader: the socket directory /run/x is not writable: mount it so\\u000athat it is\n',
    )
  })

  it('ends with 1 and the stack after a defect', async (t) => {
    const { code, stderr } = await run(t, ['break'])
    assert.equal(code, 1)
    assert.match(stderr, /^langflow-leader: unexpected error: TypeError: a defect\n +at /)
  })
})
