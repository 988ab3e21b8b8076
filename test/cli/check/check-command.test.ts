import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { BUNDLE } from '../../harness/bundle.ts'
import { temporaryDirectory } from '../../harness/temporary-directory.ts'
import { kubeconfigFor, reply, ScriptedServer, status } from '../../kube/scripted-server.ts'
import { sound } from './sound-manifests.ts'

const dir = temporaryDirectory()
const path = (name: string) => join(dir, name)
let server: ScriptedServer

before(async () => {
  server = await ScriptedServer.start(({ method, url }, response) => {
    if (url.pathname.endsWith('/nope')) reply(response, 404, status(404, 'NotFound'))
    else reply(response, method === 'POST' ? 201 : 200, { metadata: { name: 'x', resourceVersion: '1' } })
  })
  writeFileSync(path('config'), kubeconfigFor(server))
  writeFileSync(path('sound.yaml'), sound('production').text())
  writeFileSync(path('invalid.yaml'), 'a: [')
})
after(() => server[Symbol.asyncDispose]())

/** The exit code, the code of the error, and whether the API server validated the objects. */
function run(args: readonly string[]): Promise<unknown[]> {
  const all = [BUNDLE, 'check', '-o', 'json', ...args]
  const env = { KUBECONFIG: path('config') }
  return new Promise((resolve) =>
    execFile(process.execPath, all, { env }, (error, stdout) => {
      const { error: failure, validated } = JSON.parse(stdout)
      resolve([error === null ? 0 : error.code, failure?.code ?? null, validated ?? null])
    }),
  )
}

describe('check -f', () => {
  const file = ['-f', path('sound.yaml')]
  for (const [args, wanted] of [
    [file, [0, null, false]],
    [
      [...file, '-n', 'ns'],
      [0, null, true],
    ],
    [
      [...file, '--context', 'x'],
      [0, null, true],
    ],
    [
      [...file, '--kubeconfig', path('config')],
      [0, null, true],
    ],
    [
      [...file, ...file],
      [0, null, false],
    ],
    [
      [...file, '--fail-on', 'unknown'],
      [1, null, false],
    ],
    [
      [...file, '--fail-on', 'unknown', '-n', 'ns'],
      [0, null, true],
    ],
    [
      [...file, '-n', 'nope'],
      [2, 'no_namespace', null],
    ],
    [
      ['-f', path('absent.yaml')],
      [2, 'wrong_input', null],
    ],
    [
      ['-f', path('invalid.yaml')],
      [2, 'wrong_input', null],
    ],
  ] as const)
    test(args.join(' ').replaceAll(`${dir}/`, ''), async () => {
      assert.deepEqual(await run(args), wanted)
    })
})
