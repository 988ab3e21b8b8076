import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, describe, test } from 'node:test'
import { VERSION } from '../../../agent/version.ts'
import { manifestsIn } from '../../deploy/manifests.ts'
import { BUNDLE } from '../../harness/bundle.ts'
import { agentOf, deployment, find, fixture, podOf, variable } from './streams.ts'

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

function variablesOf(flags: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(flags).map(([flag, value]) => [
      `LEADER_${flag.slice(2).toUpperCase().replaceAll('-', '_')}`,
      value,
    ]),
  )
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
    assert.equal(byFile.code, 0)
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
    const { code, stdout, stderr } = run(['--traffic', 'front'], { stdin: chart })
    assert.equal(code, 0)
    assert.equal(variable(agentOf(podOf(stdout)), 'LEADER_TRAFFIC'), 'front')
    assert.match(
      stderr,
      /^langflow-leader: warning: Deployment\/flows-langflow-runtime: it has one replica, [^\n]+ \[replicas-one\]$/m,
    )
  })

  test('takes what its image starts, its image, and the name of its container', () => {
    const bare = file('bare.yaml', deployment({ command: '' }))
    const image = 'registry.example.org/leader:7'
    const flags = ['--entrypoint', `sh -c 'exec langflow run'`, '--image', image, '--container', 'langflow']
    const { stdout } = run(['-f', bare, ...flags])
    const pod = podOf(stdout)
    assert.deepEqual(pod.containers[0]?.command?.slice(5), ['sh', '-c', 'exec langflow run'])
    assert.equal(pod.initContainers[0]?.image, image)
    const out = run(['--uninject'], { stdin: stdout })
    assert.deepEqual(manifestsIn(out.stdout), manifestsIn(deployment({ command: '' })))
  })

  test('tells on standard error what was put where, and what was taken out', () => {
    const said = (args: string[], stdin: string) =>
      run(args, { stdin }).stderr.replaceAll(/^langflow-leader: /gm, '')
    assert.equal(
      said(
        ['--image', 'registry.example.org/leader:7'],
        deployment({ pod: 'automountServiceAccountToken: false' }),
      ),
      `Deployment/app: added program, socket (containers[langflow].volumeMounts); LANGFLOW_LOG_ENV (containers[langflow].env); the launcher (containers[langflow].command); program, socket, agent-state, token (volumes); install, agent (initContainers)
Deployment/app: set containers[langflow].livenessProbe, containers[langflow].startupProbe, securityContext, terminationGracePeriodSeconds, serviceAccountName, serviceAccount, spec.strategy
Deployment/app: added beside it ServiceAccount/app-langflow-leader, Role/app-langflow-leader, RoleBinding/app-langflow-leader, Lease/app-leader, Service/app-members
`,
    )
    const { stdout } = run([], { stdin: deployment() })
    assert.equal(
      said(['--uninject'], stdout),
      'Deployment/app: as it was before\nServiceAccount/app-langflow-leader: taken out\nRole/app-langflow-leader: taken out\nRoleBinding/app-langflow-leader: taken out\nLease/app-leader: taken out\nService/app-members: taken out\n',
    )
  })

  test('takes every flag of the agent, and tells the launcher what is for both', () => {
    const given = {
      '--lease-duration': '20s',
      '--renew-deadline': '12s',
      '--kubeconfig': 'kube/config',
      '--drain-timeout': '10s',
      '--stop-timeout': '1m',
      '--log-level': 'debug',
      '--listen': ':9000',
      '--socket': '/run/other/s.sock',
      '--state-dir': '/var/lib/other',
      '--target': 'http://127.0.0.1:9001',
      '--peers': 'others:9000',
      '--on-crash': 'restart',
      '--standby': 'warm',
    }
    const { stdout, code } = run(Object.entries(given).flat(), { stdin: deployment() })
    assert.equal(code, 0)
    const pod = podOf(stdout)
    const told = (name: string) =>
      Object.fromEntries(
        [...pod.initContainers, ...pod.containers]
          .find((one) => one.name === name)!
          .env!.filter(({ name, value }) => name.startsWith('LEADER_') && value !== undefined)
          .map(({ name, value }) => [`--${name.slice(7).toLowerCase().replaceAll('_', '-')}`, value]),
      )
    assert.deepEqual(told('agent'), { ...given, '--lease-name': 'app-leader' })
    assert.deepEqual(told('langflow'), {
      '--stop-timeout': '1m',
      '--log-level': 'debug',
      '--socket': '/run/other/s.sock',
    })
    assert.equal(pod.terminationGracePeriodSeconds, 80)
    assert.equal(find(stdout, 'Service', 'app-members').spec.ports[0].port, 9000)
    // The rules of check agree that all of that fits together.
    const { stderr } = run([], { stdin: stdout, env: variablesOf(given) })
    assert.equal(stderr.match(/\[[-a-z]+\]$/gm), null)
    const out = run(['--uninject'], { stdin: stdout })
    assert.deepEqual(manifestsIn(out.stdout), manifestsIn(deployment()))
  })

  test('says that there was nothing to take out, and passes it on', () => {
    const { code, stdout, stderr } = run(['--uninject', '-f', app])
    assert.deepEqual([code, stdout], [0, deployment()])
    assert.equal(stderr, 'langflow-leader: warning: nothing in this stream was put in by inject\n')
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
    assert.equal(code, 1)
    assert.match(await said, /^langflow-leader: cannot write to standard output: write EPIPE\n$/m)
  })
})

const WRONG: Cases = [
  [['--traffic', 'x'], /--traffic 'x': use one of readiness, front/],
  [['--standby', 'hot'], /--standby 'hot': use one of cold, warm/],
  [['--container', 'A B'], /--container 'A B': use at most 63/],
  [['--image', 'a b'], /--image 'a b': use an image as a pod names it/],
  [['--lease-name', 'A'], /--lease-name 'A': use at most 253/],
  [
    ['--listen', '127.0.0.1:8090'],
    /--listen '127.0.0.1:8090': .* leave the host out and name a port, such as :8090/,
  ],
  [['--lease-duration', '5s'], /--lease-duration \(5s\) must be longer than --renew-deadline/],
  [['--identity', 'me'], /unknown option '--identity'/],
  [['--entrypoint', `"langflow`], /--entrypoint '"langflow': the quote " is not closed/],
  [['--uninject', '--traffic', 'front'], /--traffic means nothing to --uninject/],
  [['-f', '-', '-f', '-'], /--filename - is there twice/],
  [['-f', ''], /--filename '': name a file/],
  [['--nope'], /unknown option '--nope'/],
  [['app.yaml'], /too many arguments/],
]
const utf16 = join(dir, 'utf16')
writeFileSync(utf16, deployment(), 'utf16le')
const UNFIT: Cases = [
  [[], /^langflow-leader: Deployment\/app: with hostPID/, { stdin: deployment({ pod: 'hostPID: true' }) }],
  [[], /^langflow-leader: standard input, line \d: not valid YAML/, { stdin: 'a: [\n' }],
  [[], /found no LangFlow/, { stdin: '' }],
  [['-f', join(dir, 'none')], /^langflow-leader: cannot read \S+none: there is no such file$/m],
  [['-f', utf16], /^langflow-leader: \S+utf16 is not UTF-8 text: save it as that$/m],
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
