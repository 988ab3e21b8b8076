import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, test } from 'node:test'
import { findAccess, KubeConfigError } from '../../agent/kube/kube-access.ts'
import { ApiError } from '../../agent/kube/kube-errors.ts'
import type { LeaseConnectionOptions } from '../../agent/lease/lease-api.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { connected, kubeconfig, leaseAt, reply, ScriptedServer, status } from './scripted-server.ts'

const LATER_MS = 5_000
let dir = ''
beforeEach(() => {
  dir = temporaryDirectory()
})

function write(name: string, content: string | object): string {
  const path = join(dir, name)
  mkdirSync(join(path, '..'), { recursive: true })
  // Replaces the file atomically, as the kubelet and kubectl do.
  writeFileSync(`${path}.new`, typeof content === 'string' ? content : JSON.stringify(content))
  renameSync(`${path}.new`, path)
  return path
}

/** Connects with a home directory that has no kubeconfig. */
function connect(options: Partial<LeaseConnectionOptions>) {
  return connected({ env: { HOME: join(dir, 'nobody') }, ...options })
}

/** Answers every request with a Lease. */
function leaseServer(): Promise<ScriptedServer> {
  return ScriptedServer.start((_, response) => reply(response, 200, leaseAt('8')))
}

async function authorizationWith(user: object): Promise<string | undefined> {
  await using server = await leaseServer()
  using connection = await connect({ kubeconfig: write('config', kubeconfig(server.url, user)) })
  await connection.api.read(LATER_MS)
  return server.requests[0]?.headers.authorization
}

test('--kubeconfig takes precedence over the pod, the pod over $KUBECONFIG, and that over ~/.kube/config', async () => {
  const named = (namespace: string) => kubeconfig('http://127.0.0.1:1', { token: 't' }, {}, { namespace })
  const flag = write('flag', named('by-flag'))
  const KUBECONFIG = write('env', named('by-env'))
  write('.kube/config', named('by-home'))
  for (const file of ['token', 'ca.crt']) write(`pod/${file}`, 't')
  write('pod/namespace', 'by-pod\n')
  const pod = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' }
  const where = { serviceAccountDirectory: join(dir, 'pod') }
  const namespaceFor = async (options: Partial<LeaseConnectionOptions>) => {
    using connection = await connect(options)
    return connection.namespace
  }

  const everywhere = { ...pod, KUBECONFIG, HOME: dir }
  const rows: [options: Partial<LeaseConnectionOptions>, namespace: string][] = [
    [{ kubeconfig: flag, env: everywhere, ...where }, 'by-flag'],
    [{ env: everywhere, ...where }, 'by-pod'],
    [{ env: { KUBECONFIG, HOME: dir }, ...where }, 'by-env'],
    [{ env: { HOME: dir }, ...where }, 'by-home'],
    [{ env: { HOME: dir }, namespace: 'asked-for' }, 'asked-for'],
    [{ kubeconfig: write('plain', kubeconfig('http://127.0.0.1:1', {})) }, 'default'],
  ]
  for (const [options, namespace] of rows) assert.equal(await namespaceFor(options), namespace)
  using inPod = await connect({ env: pod, ...where })
  assert.equal(inPod.server, 'https://[fd00::1]/')
})

test('tokens and token files become an Authorization header', async () => {
  assert.equal(await authorizationWith({}), undefined)
  assert.equal(await authorizationWith({ token: 'abc' }), 'Bearer abc')
  write('sub/token', 'from-file\n')
  assert.equal(await authorizationWith({ tokenFile: 'sub/token', token: 'older' }), 'Bearer from-file')
})

test('a credential plugin runs once, and again after a 401', async () => {
  const plugin = write(
    'plugin.sh',
    `#!/bin/sh
echo run >> "${dir}/runs"
echo "$KUBERNETES_EXEC_INFO" > "${dir}/info"
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'$(wc -l < "${dir}/runs" | tr -d ' ')'"}}'
`,
  )
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: '/bin/sh', args: [plugin] }
  await using server = await leaseServer()
  using connection = await connect({ kubeconfig: write('config', kubeconfig(server.url, { exec })) })
  await connection.api.read(LATER_MS)
  await connection.api.read(LATER_MS)
  server.script = (request, response) =>
    request.headers.authorization === 'Bearer 1'
      ? reply(response, 401, status(401, 'Unauthorized'))
      : reply(response, 200, leaseAt('9'))
  await connection.api.read(LATER_MS)
  assert.deepEqual(
    server.requests.map(({ headers }) => headers.authorization),
    ['Bearer 1', 'Bearer 1', 'Bearer 1', 'Bearer 2'],
  )
  const info = JSON.parse(readFileSync(join(dir, 'info'), 'utf8'))
  assert.equal(info.kind, 'ExecCredential')
  assert.deepEqual(info.spec, { interactive: false })
})

test('the error of a failed plugin names the plugin, but not the token that it printed', async () => {
  const token = 'eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMyJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl'
  const failures: [exec: object, message: RegExp][] = [
    [{ command: 'no-such-plugin' }, /"no-such-plugin" of kubeconfig .* failed: .* ENOENT$/],
    [
      { command: 'sh', args: ['-c', `echo "expired: ${token}" >&2; exit 3`] },
      /failed: expired: \[redacted\]$/,
    ],
    [{ command: 'sh', args: ['-c', `echo '{"token":"${token}"}'`] }, /printed no ExecCredential$/],
  ]
  for (const [exec, message] of failures) {
    const kubeconfigFile = write('config', kubeconfig('http://127.0.0.1:1', { exec }))
    using connection = await connect({ kubeconfig: kubeconfigFile })
    await assert.rejects(connection.api.read(LATER_MS), (error: unknown) => {
      assert.ok(error instanceof ApiError)
      assert.equal(error.code, 'unauthorized')
      assert.match(error.message, message)
      assert.doesNotMatch(error.message, /eyJ/)
      return true
    })
  }
})

test('a token file is read for every request', async () => {
  await using server = await leaseServer()
  const tokenFile = write('token', 'one')
  using connection = await connect({ kubeconfig: write('config', kubeconfig(server.url, { tokenFile })) })
  await connection.api.update(leaseAt('7'), LATER_MS)
  write('token', 'two')
  await connection.api.update(leaseAt('7'), LATER_MS)
  assert.deepEqual(
    server.requests.map(({ headers }) => headers.authorization),
    ['Bearer one', 'Bearer two'],
  )
  assert.equal(server.connections, 1)
})

test('a changed kubeconfig counts immediately, except for a broken file or another current context', async () => {
  await using server = await leaseServer()
  const path = write('config', kubeconfig(server.url, { token: 'one' }))
  using connection = await connect({ kubeconfig: path })
  await connection.api.read(LATER_MS)
  write('config', kubeconfig(server.url, { token: 'two' }))
  await connection.api.read(LATER_MS)
  write('config', '{ half')
  await connection.api.read(LATER_MS)
  const moved = kubeconfig(server.url, { token: 'three' }) as Record<string, unknown[]>
  write('config', {
    ...moved,
    'current-context': 'elsewhere',
    contexts: [{ name: 'elsewhere', context: { cluster: 'd', user: 'u' } }, ...(moved.contexts ?? [])],
    clusters: [{ name: 'd', cluster: { server: 'http://127.0.0.1:1' } }, ...(moved.clusters ?? [])],
  })
  await connection.api.read(LATER_MS)
  assert.deepEqual(
    server.requests.map(({ headers }) => headers.authorization),
    ['Bearer one', 'Bearer two', 'Bearer two', 'Bearer three'],
  )
})

test('--context selects a context of the kubeconfig, even in a pod', async () => {
  await using server = await leaseServer()
  const told = kubeconfig('http://127.0.0.1:1', { token: 'one' }) as Record<string, unknown[]>
  const path = write('config', {
    ...told,
    contexts: [{ name: 'elsewhere', context: { cluster: 'd', user: 'u' } }, ...(told.contexts ?? [])],
    clusters: [{ name: 'd', cluster: { server: server.url } }, ...(told.clusters ?? [])],
  })
  const inPod = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1', KUBECONFIG: path }
  write('token', 'of the pod')
  const from = { env: inPod, serviceAccountDirectory: dir }
  assert.match((await findAccess(from)).source, /^the ServiceAccount token/)
  assert.equal((await findAccess({ ...from, context: 'elsewhere' })).server.origin, server.url)
  const message = /no context "nowhere" \(it has elsewhere, /
  await assert.rejects(findAccess({ ...from, context: 'nowhere' }), { message })
})

test('several files are merged as kubectl merges them', async () => {
  await using server = await leaseServer()
  const users = write('a/users', { users: [{ name: 'u', user: { tokenFile: 'token' } }] })
  write('a/token', 'beside-its-file')
  const rest = write('b/rest', kubeconfig(server.url, { token: 'second' }))
  using connection = await connect({ env: { KUBECONFIG: `${join(dir, 'missing')}:${users}:${rest}` } })
  await connection.api.read(LATER_MS)
  assert.equal(server.requests[0]?.headers.authorization, 'Bearer beside-its-file')
})

const base = kubeconfig('http://127.0.0.1:1', { token: 'secret-token' })
const socks = kubeconfig('http://a', {}, { 'proxy-url': 'socks5://b' })
const MISTAKES: [name: string, content: string | object | undefined, message: RegExp][] = [
  ['a missing file', undefined, /no such file or directory$/],
  ['bad YAML', 'users: [{token: secret-token}, {\n  x', /at line 2$/],
  ['a list', '- a', /no YAML mapping$/],
  ['an empty file', '', /config (is not a kubeconfig|is not valid YAML)/],
  ['no current-context', { ...base, 'current-context': '' }, /kubectl config use-context/],
  ['an unknown context', { ...base, 'current-context': 'x' }, /no context "x".* has here\)$/],
  ['an unknown cluster', { ...base, clusters: [] }, /no cluster "c".* has none\)$/],
  ['an unknown user', { ...base, users: [] }, /no user "u"/],
  ['an invalid server URL', kubeconfig('a:6443', {}), /the server of .* URL$/],
  ['a SOCKS proxy', socks, /the proxy-url of .* URL$/],
]
test('a mistake in a kubeconfig is reported in one line', async () => {
  for (const [name, content, message] of MISTAKES) {
    const path = content === undefined ? join(dir, 'missing') : write('config', content)
    await assert.rejects(connect({ kubeconfig: path }), (error: unknown) => {
      assert.ok(error instanceof KubeConfigError, name)
      assert.match(error.message, message)
      assert.doesNotMatch(error.message, /secret-token|\n/)
      return true
    })
  }
})

test('the error of a file that cannot be read names the file', async () => {
  const config = kubeconfig('https://127.0.0.1:1', {}, { 'certificate-authority': 'ca.pem' })
  using connection = await connect({ kubeconfig: write('config', config) })
  await assert.rejects(connection.api.read(LATER_MS), /ca\.pem, .*: no such file/)
  mkdirSync(join(dir, 'home/.kube'), { recursive: true })
  // A loop, since the tests may run as root, who may read every file.
  symlinkSync('config', join(dir, 'home/.kube/config'))
  await assert.rejects(connect({ env: { HOME: join(dir, 'home') } }), /config: too many symbolic links/)
})

test('missing access is reported in a pod and outside', async () => {
  await assert.rejects(connect({}), { name: 'KubeConfigError', message: /set --kubeconfig or \$KUBECONFIG/ })
  const env = { KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443', HOME: dir }
  await assert.rejects(connect({ env, serviceAccountDirectory: dir }), /no ServiceAccount token/)
})
