import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { faultOfFlow, findLfx, validateFlows } from '../../agent/launcher/flow-faults.ts'
import { isDead, readStat } from '../../agent/processes/proc.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { until } from '../harness/wait.ts'

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
function installed(t: TestContext, script: (dir: string) => string) {
  const dir = directory(t)
  const bin = join(dir, 'bin')
  mkdirSync(bin)
  for (const [name, text] of [
    ['langflow', `#!${bin}/python\n`],
    ['lfx', `#!/bin/sh\nenv > ${dir}/environment\necho "$@" > ${dir}/arguments\n${script(dir)}`],
  ] as const)
    writeFileSync(join(bin, name), text, { mode: 0o755 })
  const env = { PATH: '/usr/bin:/bin', LANGFLOW_SECRET_KEY: 'a secret' }
  const lfx = findLfx([join(bin, 'langflow'), 'run'], env)
  assert.equal(lfx, join(bin, 'lfx'))
  const quit = new AbortController()
  const clock = new VirtualClock()
  const validate = () => validateFlows(lfx as string, clock, '/flows', quit.signal)
  return { dir, clock, quit, validate }
}

/** An `lfx` that hangs: it, a child, and a child in a session of its own write their pids. */
async function hanging(t: TestContext) {
  const note = 'echo $$ >> "$pids"'
  const child = `sh -c '${note}; exec sleep 1000'`
  const script = (dir: string) => `export pids=${dir}/pids\n${note}\n${child} &\nsetsid ${child} &\nwait`
  const one = installed(t, script)
  const answer = one.validate()
  const pids = () => {
    const file = join(one.dir, 'pids')
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : []
  }
  await until('three processes', () => pids().length === 3)
  const alive = () => pids().filter((pid) => isAlive(pid))
  t.after(() => {
    for (const pid of alive()) process.kill(pid, 'SIGKILL')
  })
  return { ...one, answer, alive }
}

function isAlive(pid: number | undefined): boolean {
  const stat = pid === undefined ? undefined : readStat(pid)
  return stat !== undefined && !isDead(stat)
}

describe('lfx validate', () => {
  test('runs without LangFlow’s variables, and its refusal becomes one sentence', async (t) => {
    const fine = installed(t, () => 'exit 0')
    assert.equal(await fine.validate(), null)
    assert.equal(readFileSync(join(fine.dir, 'arguments'), 'utf8'), 'validate --format json --dir /flows\n')
    assert.doesNotMatch(readFileSync(join(fine.dir, 'environment'), 'utf8'), /secret/i)
    const issues = [
      { severity: 'warning', message: 'a warning' },
      { severity: 'error', message: "Missing 'id'" },
      { severity: 'error', message: 'another error' },
    ]
    const report = JSON.stringify([{ path: '/flows/b.json', ok: false, issues }], null, 2)
    const refusing = installed(t, () => `cat <<'END'\n${report}\nEND\nexit 1`)
    const refusal = "lfx validate refuses /flows: Missing 'id'"
    assert.equal(await refusing.validate(), refusal)
    const broken = installed(t, () => 'echo Traceback; exit 2')
    const unknown = 'lfx validate refuses /flows: it did not report a result'
    assert.equal(await broken.validate(), unknown)
  })

  test('is killed with all its processes at its time limit, and no other process is', async (t) => {
    const { answer, alive, clock } = await hanging(t)
    const langflow = spawn('sleep', ['1000'])
    t.after(() => langflow.kill('SIGKILL'))
    await clock.pass(59_000)
    assert.equal(alive().length, 3)
    await clock.pass(1_000)
    await until('the end of its processes', async () => {
      await clock.pass(20)
      return alive().length === 0
    })
    assert.equal(await answer, 'lfx validate did not end within 60 s for /flows')
    assert.ok(isAlive(langflow.pid))
  })

  test('is killed with all its processes after an interruption', async (t) => {
    const { answer, alive, clock, quit } = await hanging(t)
    quit.abort()
    await until('the end of its processes', async () => {
      await clock.pass(20)
      return alive().length === 0
    })
    await answer
  })

  test('leaves no process behind when it ends', async (t) => {
    const { dir, clock, validate } = installed(t, (dir) => `setsid sleep 1000 &\necho $! > ${dir}/child`)
    const answer = validate()
    const child = join(dir, 'child')
    await until('its child', () => existsSync(child) && readFileSync(child, 'utf8').endsWith('\n'))
    const pid = Number(readFileSync(child, 'utf8'))
    await until('the end of its child', async () => {
      await clock.pass(20)
      return !isAlive(pid)
    })
    assert.equal(await answer, null)
  })

  test('is optional', () => {
    assert.equal(findLfx(['node', 'workload.mjs'], { PATH: '/nowhere' }), null)
  })
})
