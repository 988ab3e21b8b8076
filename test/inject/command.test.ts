import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { VERSION } from '../../agent/version.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { deployment, find, fixture, manifestsIn, podOf } from './streams.ts'

const dir = mkdtempSync(join(tmpdir(), 'inject-test-'))
after(() => rmSync(dir, { recursive: true, force: true }))

interface Outcome {
  code: number
  stdout: string
  stderr: string
}

function run(
  args: string[],
  { stdin = '', env = {} }: { stdin?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [BUNDLE, 'inject', ...args], { env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    )
    child.stdin?.on('error', () => {}) // It may end without having read.
    child.stdin?.end(stdin)
  })
}

function file(name: string, text: string): string {
  const path = join(dir, name)
  writeFileSync(path, text)
  return path
}

/** As some editors save it. */
const app = file('app.yaml', `\ufeff${deployment().replaceAll('\n', '\r\n')}`)

describe('langflow-leader inject', () => {
  test('reads files, several as one stream, and standard input, and can take all of it out', async () => {
    const byFile = await run(['-f', app])
    assert.deepEqual([byFile.code, byFile.stderr], [0, ''])
    assert.equal(podOf(byFile.stdout).initContainers[0]?.image, `langflow-leader:${VERSION}`)
    for (const args of [[], ['-f', '-']]) {
      assert.deepEqual(await run(args, { stdin: deployment() }), byFile)
    }
    const service = file('service.yaml', 'kind: Service\nmetadata: { name: s }')
    const both = await run(['-f', service, '--filename', app])
    assert.equal(find(both.stdout, 'Service', 's').metadata.name, 's')
    const out = await run(['--uninject'], { stdin: both.stdout })
    assert.deepEqual(manifestsIn(out.stdout), [
      { kind: 'Service', metadata: { name: 's' } },
      ...manifestsIn(deployment()),
    ])
  })

  test('is a post-renderer: the chart in, the chart out, and warnings aside', async () => {
    const chart = fixture('runtime-deployment').replace('replicas: 3', 'replicas: 1')
    const { code, stdout, stderr } = await run(['--traffic', 'label'], { stdin: chart })
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

  test('has a variable for each flag', async () => {
    const env = {
      LEADER_FILENAME: file('bare.yaml', deployment({ command: '' })),
      LEADER_ENTRYPOINT: `sh -c 'exec langflow run'`,
      LEADER_IMAGE: 'registry.example.org/leader:7',
      LEADER_CONTAINER: 'langflow',
    }
    const { stdout } = await run([], { env })
    const pod = podOf(stdout)
    assert.deepEqual(pod.containers[0]?.command?.slice(5), ['sh', '-c', 'exec langflow run'])
    assert.equal(pod.initContainers[0]?.image, 'registry.example.org/leader:7')
    const out = await run([], { stdin: stdout, env: { LEADER_UNINJECT: 'true' } })
    assert.deepEqual(manifestsIn(out.stdout), manifestsIn(deployment({ command: '' })))
  })

  test('says that there was nothing to take out, and passes it on', async () => {
    const { code, stdout, stderr } = await run(['--uninject', '-f', app])
    assert.deepEqual([code, stdout], [0, deployment()])
    assert.equal(stderr, 'langflow-leader: nothing in this stream was put in by inject\n')
  })

  test('writes a long stream whole, and ends where nobody reads on', async () => {
    const data = `kind: ConfigMap\nmetadata: { name: big }\ndata:\n${'  # a line that takes its room\n'.repeat(20_000)}---\n`
    const big = file('big.yaml', data + deployment())
    const { stdout } = await run(['-f', big])
    assert.ok(stdout.startsWith(data))
    assert.equal(manifestsIn(stdout).length, 7)
    const child = spawn(process.execPath, [BUNDLE, 'inject', '-f', big], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.destroy()
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk
    })
    const [code] = await once(child, 'close')
    assert.deepEqual([code, stderr], [1, 'langflow-leader: cannot write to standard output: write EPIPE\n'])
  })
})

describe('a wrong command line is one sentence and exit code 2', () => {
  for (const [args, message] of [
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
  ] as const) {
    test(args.join(' '), async () => {
      const { code, stdout, stderr } = await run([...args], { stdin: deployment() })
      assert.deepEqual([code, stdout], [2, ''])
      assert.match(stderr, message)
      assert.match(stderr, /^langflow-leader inject: [^\n]+\n$/)
    })
  }

  test('a variable as well', async () => {
    const { code, stderr } = await run([], { stdin: deployment(), env: { LEADER_UNINJECT: 'please' } })
    assert.equal(code, 2)
    assert.match(stderr, /LEADER_UNINJECT 'please': use true or false/)
  })
})

describe('what cannot be handled is one sentence, exit code 1, and nothing on standard output', () => {
  const none = join(dir, 'none.yaml')
  for (const [args, stdin, message] of [
    [[], deployment({ pod: 'hostPID: true' }), /^langflow-leader: Deployment\/app: with hostPID/],
    [[], 'a: [\n', /^langflow-leader: standard input, line \d: not valid YAML/],
    [[], '', /found no LangFlow/],
    [['-f', none], '', /^langflow-leader: cannot read \S+none.yaml: there is no such file$/m],
    [['-f', dir], '', /^langflow-leader: cannot read \S+: it is a directory: name its files one by one$/m],
  ] as const) {
    test(String(message), async () => {
      const { code, stdout, stderr } = await run([...args], { stdin })
      assert.deepEqual([code, stdout], [1, ''])
      assert.match(stderr, message)
      assert.match(stderr, /^[^\n]+\n$/)
    })
  }
})
