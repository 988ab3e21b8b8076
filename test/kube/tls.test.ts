import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasOpenssl, makeCertificate } from '../harness/certificate.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { connected, failure, kubeconfig, leaseAt, reply, ScriptedServer } from './scripted-server.ts'

const LATER_MS = 5_000
const missing = hasOpenssl() ? false : 'SKIPPED: install openssl to test TLS and CA rotation'
if (missing) console.error(missing)
const dir = temporaryDirectory()

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

test('a rotated token and a rotated CA count immediately', { skip: missing }, async () => {
  const [old, fresh] = [makeCertificate(dir, 'old'), makeCertificate(dir, 'fresh')]
  await using server = await ScriptedServer.start((_, response) => reply(response, 200, leaseAt('8')), old)
  using connection = await inPod(server.port, mount('one', old.cert))
  const { api } = connection
  await api.update(leaseAt('8'), LATER_MS)
  assert.equal(server.requests.at(-1)?.headers.authorization, 'Bearer one')
  const { connections } = server
  mount('two', old.cert)
  await api.update(leaseAt('8'), LATER_MS)
  assert.equal(server.requests.at(-1)?.headers.authorization, 'Bearer two')
  assert.equal(server.connections, connections, 'a new token needs no new connection')
  mount('two', `${old.cert}\n${fresh.cert}`)
  await api.read(LATER_MS)
  assert.equal(server.connections, connections + 1)
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

test('a kubeconfig may skip verification, or name a CA', { skip: missing }, async () => {
  const named = makeCertificate(dir, 'named')
  await using server = await ScriptedServer.start((_, response) => reply(response, 200, leaseAt('8')), named)
  const data = Buffer.from(named.cert).toString('base64')
  const clusters = [
    { 'insecure-skip-tls-verify': true },
    { 'certificate-authority-data': data },
    { 'certificate-authority': 'named.crt' },
  ]
  for (const cluster of clusters) {
    const path = join(dir, 'kubeconfig')
    const user = { 'client-certificate': 'named.crt', 'client-key': 'named.key' }
    const config = kubeconfig(`https://127.0.0.1:${server.port}`, user, cluster)
    writeFileSync(path, JSON.stringify(config))
    using connection = await connected({ kubeconfig: path })
    assert.equal((await connection.api.read(LATER_MS))?.metadata.resourceVersion, '8')
  }
})
