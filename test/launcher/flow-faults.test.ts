import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { faultOfFlow, findLfx, validateFlows } from '../../agent/launcher/flow-faults.ts'

const json = (flow: unknown) => JSON.stringify(flow)

/** LangFlow 1.13.0 started from each of these as the only file, with a database without flows, and aborted for the others. */
const STARTS = [
  json({ name: '' }),
  json({ name: 'a', data: null, endpoint_name: null }),
  json({ name: 'a', data: {} }),
  json({ name: 'a', data: { nodes: null, edges: null } }),
  json({ name: 'a', id: 'no UUID', endpoint_name: 'a-b_1', more: 1 }),
  '{"name":"a","name":"b"}',
]
const ABORTS = [
  '',
  ' ',
  '{',
  '\ufeff{"name":"a"}',
  '{"name":"a"} // a',
  '{"name":"a","data":{"nodes":[NaN],"edges":[]}}',
  ...[[], null, 'a', 1, {}, { name: 5 }, { name: null }].map(json),
  ...[{ edges: [] }, { nodes: [] }, [], [1], 'a'].map((data) => json({ name: 'a', data })),
  ...[5, null, false, []].map((id) => json({ name: 'a', id })),
  ...['a b', 5, ''].map((endpoint_name) => json({ name: 'a', endpoint_name })),
]

describe('a flow', () => {
  test('has a fault exactly if LangFlow would abort its start', () => {
    for (const text of STARTS) assert.equal(faultOfFlow('a', Buffer.from(text)), null, text)
    for (const text of ABORTS) assert.notEqual(faultOfFlow('a', Buffer.from(text)), null, text)
    assert.notEqual(faultOfFlow('a', Buffer.from('{"name":"\xe9"}', 'latin1')), null)
  })

  test('is named with its fault, but not quoted in the sentence', () => {
    for (const [text, fault] of [
      ['{"name":"a","value":"sk-secret"', 'is not JSON in UTF-8 without a byte order mark'],
      ['["sk-secret"]', 'is not a JSON object'],
      ['{"name":"sk-secret","data":"sk-secret"}', 'has no valid "data"'],
    ] as const)
      assert.equal(
        faultOfFlow('/flows/a.json', Buffer.from(text)),
        `LangFlow would not start: /flows/a.json ${fault}`,
      )
  })
})

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'flow-faults-'))
  t.after(() => rmSync(dir, { recursive: true }))
  return dir
}

/** A LangFlow in a directory, and what stands in for its `lfx`. */
function installed(t: TestContext, script: string) {
  const dir = directory(t)
  const bin = join(dir, 'bin')
  mkdirSync(bin)
  for (const [name, text] of [
    ['langflow', `#!${bin}/python\n`],
    ['lfx', `#!/bin/sh\nenv > ${dir}/environment\necho "$@" > ${dir}/arguments\n${script}`],
  ] as const)
    writeFileSync(join(bin, name), text, { mode: 0o755 })
  const env = { PATH: '/usr/bin:/bin', LANGFLOW_SECRET_KEY: 'a secret' }
  const lfx = findLfx([join(bin, 'langflow'), 'run'], env)
  assert.equal(lfx, join(bin, 'lfx'))
  const signal = new AbortController()
  return { dir, signal, validate: () => validateFlows(lfx as string, '/flows', signal.signal) }
}

describe('lfx validate', () => {
  test('runs without LangFlow’s variables, and its refusal becomes one sentence', async (t) => {
    const fine = installed(t, 'exit 0')
    assert.equal(await fine.validate(), null)
    assert.equal(readFileSync(join(fine.dir, 'arguments'), 'utf8'), 'validate --format json --dir /flows\n')
    assert.doesNotMatch(readFileSync(join(fine.dir, 'environment'), 'utf8'), /secret/i)
    const issues = [
      { severity: 'warning', message: 'a warning' },
      { severity: 'error', message: "Missing 'id'" },
      { severity: 'error', message: 'another error' },
    ]
    const report = JSON.stringify([{ path: '/flows/b.json', ok: false, issues }], null, 2)
    const refusing = installed(t, `cat <<'END'\n${report}\nEND\nexit 1`)
    const refusal = "lfx validate refuses /flows: Missing 'id'"
    assert.equal(await refusing.validate(), refusal)
    const broken = installed(t, 'echo Traceback; exit 2')
    const unknown = 'lfx validate refuses /flows: it did not report a result'
    assert.equal(await broken.validate(), unknown)
  })

  test('rejects after an interruption, and is optional', async (t) => {
    const { signal, validate } = installed(t, 'exec sleep 60')
    const answer = validate()
    signal.abort()
    await assert.rejects(answer)
    assert.equal(findLfx(['node', 'workload.mjs'], { PATH: '/nowhere' }), null)
  })
})
