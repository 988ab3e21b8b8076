import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { whyCold } from '../../../agent/cli/check/cold-standby.ts'
import { factsOf } from '../../../agent/cli/check/installation.ts'
import { manifestOf } from '../../../agent/cli/manifests/manifest.ts'
import { DEPLOY } from '../../deploy/manifests.ts'
import { asStream, deployment, fixture, injected, podOf } from '../inject/streams.ts'
import type { Loose } from './facts.ts'

function coldIn(text: string): string | null {
  const [installation] = factsOf(asStream(text).objects.map(manifestOf), null).installations
  assert.ok(installation)
  return whyCold(installation.env)
}

test('the charts langflow-ide and langflow-runtime start LangFlow in a way that can be kept warm', () => {
  for (const name of ['langflow-ide', 'langflow-runtime'] as const) {
    assert.equal(coldIn(fixture(name)), null)
    assert.equal(coldIn(injected(fixture(name), { traffic: 'front', standby: 'warm' })), null)
  }
})

describe('the values for these charts', () => {
  for (const [name, kind, envIn] of [
    ['langflow-ide', 'StatefulSet', (values: Loose) => values.langflow.backend.env],
    ['langflow-runtime', 'Deployment', (values: Loose) => values.env],
  ] as const) {
    const { env = [], volumeMounts } = podOf(fixture(name), kind).containers[0]!

    test(`are in the stored output: ${name}`, () => {
      const wanted: { name: string }[] = envIn(
        parse(readFileSync(join(DEPLOY, `examples/${name}.yaml`), 'utf8')),
      )
      assert.deepEqual(
        env.filter((one) => wanted.some(({ name }) => name === one.name)),
        wanted,
      )
    })

    test(`let LangFlow write to a volume, so that a standby need not wait before it creates a directory: ${name}`, () => {
      const paths = volumeMounts.map(({ mountPath }) => mountPath)
      for (const variable of ['HOME', 'LANGFLOW_CONFIG_DIR'])
        assert.ok(paths.includes(env.find((one) => one.name === variable)?.value ?? ''), variable)
    })
  }
})

test('a script that downloads flows cannot be kept warm', () => {
  const reason = 'its shell script does more than set variables and start LangFlow'
  assert.equal(coldIn(fixture('runtime-deployment')), reason)
  assert.equal(coldIn(injected(fixture('runtime-deployment'))), reason)
})

for (const [command, reason] of [
  ['command: [langflow, run, --port, $(PORT)]', null],
  ['command: [python, app.py]', /^"python" starts something other than LangFlow/],
  ['command: [sh, -c, "langflow run --port $UNKNOWN"]', null],
  ['command: [sh, -c, "langflow run --port $(PORT)"]', null],
  ['command: [sh, -c, "langflow run --port $(OTHER)"]', /^its shell script does more/],
  ['command: [sh, -c, "langflow run --note $NOTE"]', /^put "\$NOTE" in quotes/],
  ['command: [sh, -c, "langflow run --port $(HIDDEN) --host $HIDDEN"]', null],
  ['', null],
] as const)
  test(`whether a standby can be kept warm is read from the manifest: ${command || 'no command'}`, () => {
    const hidden = '{ name: HIDDEN, valueFrom: { secretKeyRef: { name: flows, key: a } } }'
    const container = `env: [{ name: PORT, value: "7860" }, { name: NOTE, value: a b }, ${hidden}]`
    const cold = coldIn(deployment({ command, container }))
    if (reason === null) assert.equal(cold, null)
    else assert.match(String(cold), reason)
  })
