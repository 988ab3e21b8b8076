import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { kubeconfigFor } from '../../harness/api/api-server.ts'
import { runBundle } from '../../harness/bundle.ts'
import { temporaryDirectory } from '../../harness/temporary-directory.ts'
import { reply, ScriptedServer, status } from '../../kube/scripted-server.ts'
import { sound } from './sound-manifests.ts'

const dir = temporaryDirectory()
const path = (name: string) => join(dir, name)
let server: ScriptedServer

before(async () => {
  server = await ScriptedServer.start(({ method, url }, response) => {
    if (url.pathname.endsWith('/nope')) reply(response, 404, status(404, 'NotFound'))
    else reply(response, method === 'POST' ? 201 : 200, { metadata: { name: 'x', resourceVersion: '1' } })
  })
  writeFileSync(path('config'), kubeconfigFor(server.url))
  writeFileSync(path('sound.yaml'), sound('production').text())
  writeFileSync(path('invalid.yaml'), 'a: [')
})
after(() => server[Symbol.asyncDispose]())

describe('check', () => {
  for (const [line, ...wanted] of [
    ['-f sound.yaml', 0, null, false],
    ['-f sound.yaml -n ns', 0, null, true],
    ['-f sound.yaml --context leases', 0, null, true],
    ['-f sound.yaml --kubeconfig config', 0, null, true],
    ['-f sound.yaml -f sound.yaml', 0, null, false],
    ['-f sound.yaml --fail-on unknown', 1, null, false],
    ['-f sound.yaml --fail-on unknown -n ns', 0, null, true],
    ['-f sound.yaml -n nope', 2, 'no_namespace', null],
    ['-f absent.yaml', 2, 'wrong_input', null],
    ['-f invalid.yaml', 2, 'wrong_input', null],
  ] as const)
    test(line, async () => {
      const args = line.split(' ').map((word) => (/yaml$|^config$/.test(word) ? path(word) : word))
      const { code, stdout } = await runBundle(['check', '-o', 'json', ...args], {
        KUBECONFIG: path('config'),
      })
      const { error, validated } = JSON.parse(stdout)
      assert.deepEqual([code, error?.code ?? null, validated ?? null], wanted)
    })
})
