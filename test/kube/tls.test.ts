import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { LeaseWatcher } from '../../agent/lease/lease-watcher.ts'
import { hasOpenssl, makeCertificate } from '../harness/certificate.ts'
import { connected, failure, leaseAt, reply, ScriptedServer, within } from './scripted-server.ts'

const LATER_MS = 5_000
const missing = hasOpenssl() ? false : 'SKIPPED: install openssl to test TLS and CA rotation'
if (missing) console.error(missing)
const dir = mkdtempSync(join(tmpdir(), 'kube-tls-'))
after(() => rmSync(dir, { recursive: true, force: true }))

/** Creates a directory like the one that the kubelet mounts. */
function mount(token: string, ca: string): string {
  const directory = join(dir, 'mounted')
  mkdirSync(directory, { recursive: true })
  for (const [file, text] of Object.entries({ token, 'ca.crt': ca, namespace: 'ns' })) {
    writeFileSync(join(directory, file), text)
  }
  return directory
}

function inPod(port: number, directory: string, host = '127.0.0.1') {
  const env = { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: String(port) }
  return connected({ env, serviceAccountDirectory: directory })
}

/** A proxy that records the requested tunnels. */
async function tunnel(asked: string[]): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer().on('connect', (request, socket) => {
    asked.push(request.url ?? '')
    const target = new URL(`tcp://${request.url}`)
    const onward = connect(Number(target.port), target.hostname, () =>
      socket.write('HTTP/1.1 200 OK\r\n\r\n'),
    )
    socket.on('error', () => onward.destroy()).pipe(onward)
    onward.on('error', () => socket.destroy()).pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, [Symbol.asyncDispose]: async () => void server.close() }
}

test('a rotated token and a rotated CA count immediately, and the watch is reopened under the new CA', {
  skip: missing,
}, async () => {
  const [old, fresh] = [makeCertificate(dir, 'old'), makeCertificate(dir, 'fresh')]
  await using before = await ScriptedServer.start((request, response) => {
    if (!request.url.searchParams.has('watch')) return reply(response, 200, leaseAt('8'))
    response.writeHead(200).flushHeaders()
  }, old)
  const directory = mount('one', old.cert)
  using connection = await inPod(before.port, directory)
  const { api } = connection

  const told: string[] = []
  const reopened = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<void>()
  const watcher = new LeaseWatcher(
    api,
    systemClock,
    {
      observed: () => {},
      up: () => {
        told.push('up')
        opened.resolve()
      },
      down: (error) => told.push(`down ${error?.message}`),
    },
    { retryPeriodMs: 30_000, leaseDurationMs: 60_000 },
  )
  using _ = { [Symbol.dispose]: () => watcher.stop() }
  watcher.start()
  await within(opened.promise)
  await api.update(leaseAt('8'), LATER_MS)
  assert.equal(before.requests.at(-1)?.headers.authorization, 'Bearer one')
  const { connections } = before

  // The API server's certificate is exchanged for one of the new CA, as when control planes are renewed.
  mount('two', old.cert)
  await api.update(leaseAt('8'), LATER_MS)
  assert.equal(before.requests.at(-1)?.headers.authorization, 'Bearer two')
  assert.equal(before.connections, connections, 'a new token needs no new connection')

  before.script = (request, response) => {
    if (!request.url.searchParams.has('watch')) return reply(response, 200, leaseAt('9'))
    response.writeHead(200).flushHeaders()
    reopened.resolve()
  }
  mount('two', `${old.cert}\n${fresh.cert}`)
  await api.read(LATER_MS)
  await within(reopened.promise)
  assert.deepEqual(told, ['up'], 'the change of the CA does not count as a loss of the watch')
  assert.ok(before.connections > connections)
})

test('a server with an untrusted CA receives neither token nor write until the CA is trusted', {
  skip: missing,
}, async () => {
  const [mine, other] = [makeCertificate(dir, 'mine'), makeCertificate(dir, 'other')]
  await using server = await ScriptedServer.start((_, response) => reply(response, 200, leaseAt('8')), other)
  const directory = mount('one', mine.cert)
  using connection = await inPod(server.port, directory)
  const { api } = connection
  const { code } = await failure(api.update(leaseAt('7'), LATER_MS))
  assert.deepEqual([code, server.requests], ['network', []])
  // This certificate is for 127.0.0.1 only.
  using elsewhere = await inPod(server.port, mount('one', other.cert), 'localhost')
  assert.equal((await failure(elsewhere.api.update(leaseAt('7'), LATER_MS))).code, 'network')
  assert.equal((await api.update(leaseAt('7'), LATER_MS)).metadata.resourceVersion, '8')
})

test('a kubeconfig may skip verification, name a CA, or go through a proxy', { skip: missing }, async () => {
  const named = makeCertificate(dir, 'named')
  await using server = await ScriptedServer.start((_, response) => reply(response, 200, leaseAt('8')), named)
  const data = Buffer.from(named.cert).toString('base64')
  const tunnels: string[] = []
  await using proxy = await tunnel(tunnels)
  const clusters = [
    { 'insecure-skip-tls-verify': true },
    { 'certificate-authority-data': data },
    { 'certificate-authority': 'named.crt' },
    { 'certificate-authority': 'named.crt', 'proxy-url': proxy.url },
  ]
  for (const cluster of clusters) {
    const path = join(dir, 'kubeconfig')
    writeFileSync(
      path,
      JSON.stringify({
        'current-context': 'x',
        contexts: [{ name: 'x', context: { cluster: 'x', user: 'x' } }],
        clusters: [{ name: 'x', cluster: { server: `https://127.0.0.1:${server.port}`, ...cluster } }],
        users: [{ name: 'x', user: { 'client-certificate': 'named.crt', 'client-key': 'named.key' } }],
      }),
    )
    using connection = await connected({ kubeconfig: path })
    assert.equal((await connection.api.read(LATER_MS))?.metadata.resourceVersion, '8')
  }
  assert.deepEqual(tunnels, [`127.0.0.1:${server.port}`])
})
