import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { VERSION } from '../../../agent/version.ts'
import { manifestsIn } from '../../deploy/manifests.ts'
import { BUNDLE, runBundle } from '../../harness/bundle.ts'
import { temporaryDirectory } from '../../harness/temporary-directory.ts'
import { agentOf, deployment, find, fixture, podOf } from './streams.ts'

const dir = temporaryDirectory()

type Cases = readonly (readonly [args: readonly string[], message: RegExp, stdin?: string])[]

const run = (args: readonly string[], stdin = '') => runBundle(['inject', ...args], {}, stdin)

function file(name: string, text: string): string {
  const path = join(dir, name)
  writeFileSync(path, text)
  return path
}

/** A file with a byte order mark and CRLF line ends, as some editors write it. */
const app = file('app.yaml', `\ufeff${deployment().replaceAll('\n', '\r\n')}`)

describe('langflow-leader inject', () => {
  test('reads files as one stream, and standard input', async () => {
    const byFile = await run(['-f', app])
    assert.equal(byFile.code, 0)
    assert.equal(podOf(byFile.stdout).initContainers[0]?.image, `langflow-leader:${VERSION}`)
    for (const args of [[], ['-f', '-']]) assert.deepEqual(await run(args, deployment()), byFile)
    const service = file('service.yaml', 'kind: Service\nmetadata: { name: s }')
    const both = await run(['-f', service, '--filename', app])
    assert.equal(find(both.stdout, 'Service', 's').metadata.name, 's')
  })

  test('reports changes, additions and warnings on standard error', async () => {
    const chart = fixture('runtime-deployment').replace('replicas: 3', 'replicas: 1')
    const { code, stderr } = await run([], chart)
    assert.equal(code, 0)
    const title = 'langflow-leader: Deployment/flows-langflow-runtime: '
    assert.match(
      stderr,
      new RegExp(`^${title}changed [^\\n]*containers\\[langflow-runtime\\]\\.command`, 'm'),
    )
    assert.match(stderr, /^langflow-leader: Lease\/flows-langflow-runtime-leader: added$/m)
    assert.match(stderr, /^langflow-leader: warning: [^\n]+ \[replicas\]$/m)
  })

  test('accepts every flag of the agent, and passes the common ones to the launcher as well', async () => {
    const given = {
      '--lease-duration': '20s',
      '--renew-deadline': '12s',
      '--drain-timeout': '10s',
      '--stop-timeout': '1m',
      '--log-level': 'debug',
      '--listen': ':9000',
      '--target': 'http://127.0.0.1:9001',
      '--peers': 'others:9000',
      '--on-crash': 'restart',
      '--standby': 'cold',
      '--failsafe': 'none',
    }
    const own = ['--image', 'r.example.org/l:7', '--container', 'langflow']
    const flags = [...own, ...Object.entries(given).flat()]
    const { stdout, code } = await run(flags, deployment())
    assert.equal(code, 0)
    const pod = podOf(stdout)
    const told = (name: string) =>
      Object.fromEntries(
        [...pod.initContainers, ...pod.containers]
          .find((one) => one.name === name)!
          .env!.filter(({ name, value }) => name.startsWith('LEADER_') && value !== undefined)
          .map(({ name, value }) => [`--${name.slice(7).toLowerCase().replaceAll('_', '-')}`, value]),
      )
    assert.deepEqual(told('agent'), { ...given, '--lease-name': 'app-leader', '--traffic': 'front' })
    assert.deepEqual(told('langflow'), { '--stop-timeout': '1m', '--log-level': 'debug' })
    assert.equal(agentOf(pod).image, 'r.example.org/l:7')
    assert.equal(pod.terminationGracePeriodSeconds, 140)
    assert.equal(find(stdout, 'Service', 'app-members').spec.ports[0].port, 9000)
  })

  test('writes a long stream completely, and exits if its reader has ended', async () => {
    const data = {
      kind: 'ConfigMap',
      metadata: { name: 'big' },
      data: { a: 'takes its room\n'.repeat(40_000) },
    }
    const big = file('big.yaml', `${JSON.stringify(data)}\n---\n${deployment()}`)
    const { stdout } = await run(['-f', big])
    assert.deepEqual(manifestsIn(stdout)[0], data)
    const child = spawn(process.execPath, [BUNDLE, 'inject', '-f', big], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout.destroy()
    const said = text(child.stderr)
    const [code] = await once(child, 'close')
    assert.equal(code, 1)
    assert.match(await said, /^langflow-leader: cannot write to standard output: write EPIPE\n$/m)
  })
})

const WRONG: Cases = [
  [['--traffic', 'x'], /--traffic 'x': use one of readiness, front/],
  [['--container', 'A B'], /--container 'A B': use at most 63/],
  [
    ['--listen', '127.0.0.1:8090'],
    /--listen '127.0.0.1:8090': .* remove the host and set a port, such as :8090/,
  ],
  [['--lease-duration', '5s'], /--lease-duration \(5s\) must be longer than --renew-deadline/],
  [['--identity', 'me'], /unknown option '--identity'/],
  [['--kubeconfig', 'x'], /unknown option '--kubeconfig'/],
  [['app.yaml'], /too many arguments/],
]
const utf16 = join(dir, 'utf16')
writeFileSync(utf16, deployment(), 'utf16le')
const emptyDir = join(dir, 'empty')
mkdirSync(emptyDir)
const UNFIT: Cases = [
  [[], /^langflow-leader: Deployment\/app: it sets hostPID/, deployment({ pod: 'hostPID: true' })],
  [['-f', join(dir, 'none')], /^langflow-leader: cannot read \S+none: ENOENT: no such file/m],
  [['-f', utf16], /^langflow-leader: \S+utf16 is not UTF-8 text: save it as UTF-8$/m],
  [['-f', emptyDir], /^langflow-leader: \S+ has no file \*\.yaml, \*\.yml or \*\.json/m],
]
for (const [what, code, cases] of [
  ['a wrong command line', 2, WRONG],
  ['an unusable input', 1, UNFIT],
] as const)
  describe(`${what} causes one sentence, exit code ${code}, and no standard output`, () => {
    for (const [args, message, stdin = deployment()] of cases)
      test(String(message), async () => {
        const { stderr, ...rest } = await run(args, stdin)
        assert.deepEqual(rest, { code, stdout: '' })
        assert.match(stderr, message)
        assert.match(stderr, code === 2 ? /^langflow-leader inject: [^\n]+\n$/ : /^[^\n]+\n$/)
      })
  })
