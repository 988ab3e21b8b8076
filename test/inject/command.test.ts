import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, describe, test } from 'node:test'
import { VERSION } from '../../agent/version.ts'
import { manifestsIn } from '../deploy/manifests.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { deployment, find, fixture, podOf } from './streams.ts'

const dir = mkdtempSync(join(tmpdir(), 'inject-test-'))
after(() => rmSync(dir, { recursive: true, force: true }))

interface Given {
  stdin?: string
  env?: NodeJS.ProcessEnv
}
type Cases = readonly (readonly [args: readonly string[], message: RegExp, given?: Given])[]

function run(args: readonly string[], { stdin = '', env = {} }: Given = {}) {
  const options = { input: stdin, env, encoding: 'utf8', maxBuffer: 2 ** 24 } as const
  const { status: code, stdout, stderr } = spawnSync(process.execPath, [BUNDLE, 'inject', ...args], options)
  return { code, stdout, stderr }
}

function file(name: string, text: string): string {
  const path = join(dir, name)
  writeFileSync(path, text)
  return path
}

/** As some editors save it. */
const app = file('app.yaml', `\ufeff${deployment().replaceAll('\n', '\r\n')}`)

describe('langflow-leader inject', () => {
  test('reads files, several as one stream, and standard input, and can take all of it out', () => {
    const byFile = run(['-f', app])
    assert.deepEqual([byFile.code, byFile.stderr], [0, ''])
    assert.equal(podOf(byFile.stdout).initContainers[0]?.image, `langflow-leader:${VERSION}`)
    for (const args of [[], ['-f', '-']]) {
      assert.deepEqual(run(args, { stdin: deployment() }), byFile)
    }
    const service = file('service.yaml', 'kind: Service\nmetadata: { name: s }')
    const both = run(['-f', service, '--filename', app])
    assert.equal(find(both.stdout, 'Service', 's').metadata.name, 's')
    const out = run(['--uninject'], { stdin: both.stdout })
    assert.deepEqual(manifestsIn(out.stdout), [
      { kind: 'Service', metadata: { name: 's' } },
      ...manifestsIn(deployment()),
    ])
  })

  test('is a post-renderer: the chart in, the chart out, and warnings aside', () => {
    const chart = fixture('runtime-deployment').replace('replicas: 3', 'replicas: 1')
    const { code, stdout, stderr } = run(['--traffic', 'label'], { stdin: chart })
    assert.equal(code, 0)
    assert.equal(
      find(stdout, 'Service', 'flows-langflow-runtime').spec.selector['langflow-leader/role'],
      'leader',
    )
    assert.equal(
      stderr,
      'langflow-leader: Deployment/flows-langflow-runtime: it has one replica, so that none can take over: set replicas to 2 or more\n',
    )
  })

  test('has a variable for each flag', () => {
    const env = {
      LEADER_FILENAME: file('bare.yaml', deployment({ command: '' })),
      LEADER_ENTRYPOINT: `sh -c 'exec langflow run'`,
      LEADER_IMAGE: 'registry.example.org/leader:7',
      LEADER_CONTAINER: 'langflow',
    }
    const { stdout } = run([], { env })
    const pod = podOf(stdout)
    assert.deepEqual(pod.containers[0]?.command?.slice(5), ['sh', '-c', 'exec langflow run'])
    assert.equal(pod.initContainers[0]?.image, 'registry.example.org/leader:7')
    const out = run([], { stdin: stdout, env: { LEADER_UNINJECT: 'true' } })
    assert.deepEqual(manifestsIn(out.stdout), manifestsIn(deployment({ command: '' })))
  })

  test('says that there was nothing to take out, and passes it on', () => {
    const { code, stdout, stderr } = run(['--uninject', '-f', app])
    assert.deepEqual([code, stdout], [0, deployment()])
    assert.equal(stderr, 'langflow-leader: nothing in this stream was put in by inject\n')
  })

  test('writes a long stream whole, and ends where nobody reads on', async () => {
    const data = `kind: ConfigMap\nmetadata: { name: big }\ndata:\n${'  # a line that takes its room\n'.repeat(20_000)}---\n`
    const big = file('big.yaml', data + deployment())
    const { stdout } = run(['-f', big])
    assert.ok(stdout.startsWith(data))
    assert.equal(manifestsIn(stdout).length, 7)
    const child = spawn(process.execPath, [BUNDLE, 'inject', '-f', big], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.destroy()
    const said = text(child.stderr)
    const [code] = await once(child, 'close')
    assert.deepEqual(
      [code, await said],
      [1, 'langflow-leader: cannot write to standard output: write EPIPE\n'],
    )
  })
})

const WRONG: Cases = [
  [['--traffic', 'slice'], /^langflow-leader inject: --traffic 'slice': .*: use readiness or label; see/],
  [['--traffic', 'x'], /--traffic 'x': use readiness or label/],
  [['--standby', 'hot'], /--standby 'hot': use one of cold, warm/],
  [['--container', 'A B'], /--container 'A B': use at most 63/],
  [['--image', 'a b'], /--image 'a b': use an image as a pod names it/],
  [['--lease-name', 'A'], /--lease-name 'A': use at most 253/],
  [['--entrypoint', `"langflow`], /--entrypoint '"langflow': the quote " is not closed/],
  [['--uninject', '--traffic', 'label'], /--traffic means nothing to --uninject/],
  [['-f', '-', '-f', '-'], /--filename - is there twice/],
  [['-f', ''], /--filename '': name a file/],
  [['--nope'], /unknown option '--nope'/],
  [['app.yaml'], /too many arguments/],
  [[], /LEADER_UNINJECT 'please': use true or false/, { env: { LEADER_UNINJECT: 'please' } }],
]
const UNFIT: Cases = [
  [[], /^langflow-leader: Deployment\/app: with hostPID/, { stdin: deployment({ pod: 'hostPID: true' }) }],
  [[], /^langflow-leader: standard input, line \d: not valid YAML/, { stdin: 'a: [\n' }],
  [[], /found no LangFlow/, { stdin: '' }],
  [['-f', join(dir, 'none')], /^langflow-leader: cannot read \S+none: there is no such file$/m],
  [['-f', dir], /^langflow-leader: cannot read \S+: it is a directory: name its files one by one$/m],
]
for (const [what, code, cases] of [
  ['a wrong command line', 2, WRONG],
  ['what cannot be handled', 1, UNFIT],
] as const)
  describe(`${what} is one sentence, exit code ${code}, and nothing on standard output`, () => {
    for (const [args, message, more] of cases)
      test(String(message), () => {
        const { stderr, ...rest } = run(args, { stdin: deployment(), ...more })
        assert.deepEqual(rest, { code, stdout: '' })
        assert.match(stderr, message)
        assert.match(stderr, code === 2 ? /^langflow-leader inject: [^\n]+\n$/ : /^[^\n]+\n$/)
      })
  })
