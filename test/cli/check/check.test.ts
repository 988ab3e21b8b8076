import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CATALOGUE, check, IGNORE_PREFIX, type Verdict } from '../../../agent/cli/check/check.ts'
import { factsOf } from '../../../agent/cli/check/facts.ts'
import type { Facts } from '../../../agent/cli/check/rule.ts'
import { manifestOf, titleOf } from '../../../agent/cli/manifests/manifest.ts'
import { parseStream } from '../../../agent/cli/manifests/manifest-stream.ts'
import type { ManifestSet } from './manifest-set.ts'
import { MISTAKES, type Mistake } from './mistakes.ts'
import { BASES, type Base, sound } from './sound-manifests.ts'
import { UNUSUAL } from './unusual-manifests.ts'

/** The facts of `langflow-leader check -f - -n NAMESPACE` for this stream, of which the API server accepts each object. */
function factsIn(manifests: ManifestSet): Facts {
  const facts = factsOf(parseStream(manifests.text(), 'standard input').map(manifestOf), null)
  return { ...facts, refusals: [] }
}

/** Each finding as `error code object`, and each rule that is not judged as `unknown code null`. */
function linesOf({ findings, unknown }: Verdict): string[] {
  const found = findings.map(({ severity, code, object }) => `${severity} ${code} ${object}`)
  return [...found, ...unknown.flatMap(({ codes }) => codes.map((code) => `unknown ${code} null`))]
}

/** Whether the only finding of a base is one that its README accepts. */
const ACCEPTED: Partial<Record<Base, readonly string[]>> = {
  smallest: ['warning local-files Deployment/langflow'],
}

function newLines({ base, edit, facts }: Pick<Mistake, 'base' | 'edit' | 'facts'>): string[] {
  const manifests = sound(base)
  edit(manifests)
  const lines = linesOf(check({ ...factsIn(manifests), ...facts }))
  return [...new Set(lines)].filter((line) => !ACCEPTED[base]?.includes(line))
}

for (const base of BASES)
  test(`the base ${base} is sound`, () => {
    assert.deepEqual(newLines({ base, edit: () => {}, facts: {} }), [])
  })

describe('check finds one mistake:', () => {
  for (const row of MISTAKES)
    test(`${row.code}: ${row.name}`, () => {
      const { object = titleOf(factsIn(sound(row.base)).installations[0]!.manifest) } = row
      const lines = newLines(row)
      const wanted = `${row.severity} ${row.code} ${row.severity === 'unknown' ? null : object}`
      assert.ok(lines.includes(wanted), `${wanted} is not in:\n${lines.join('\n')}`)
      const codes = lines.map((line) => line.split(' ')[1]!)
      assert.deepEqual([...new Set(codes)].sort(), [row.code, ...row.also].sort())
    })
})

test('each rule has a mistake, and each mistake its own name', () => {
  const codes = CATALOGUE.map(({ code }) => code)
  assert.deepEqual([...new Set(MISTAKES.map(({ code }) => code))].sort(), codes.toSorted())
  const names = [...MISTAKES, ...UNUSUAL].map(({ name }) => name)
  assert.equal(new Set(names).size, names.length)
})

describe('check reports nothing useless:', () => {
  for (const row of UNUSUAL)
    test(row.name, () => {
      const manifests = sound(row.base)
      const before = manifests.text()
      row.edit(manifests)
      assert.notEqual(manifests.text(), before)
      assert.equal(factsIn(manifests).installations.length > 0, true)
      assert.deepEqual(newLines({ ...row, facts: {} }), [])
    })
})

test('the rules that require one absent object share one cause', () => {
  const manifests = sound('production')
  manifests.drop('Secret')
  const { unknown } = check(factsIn(manifests))
  assert.deepEqual(unknown, [
    { cause: 'Secret/langflow is not in the input', codes: ['secret-key', 'database-shared'] },
  ])
})

test('a kind that the user may not list leaves its rules unjudged', () => {
  const facts = factsIn(sound('production'))
  const hidden = new Map([['NetworkPolicy', 'forbidden']])
  const manifests = facts.manifests.filter(({ kind }) => kind !== 'NetworkPolicy')
  assert.deepEqual(check({ ...facts, manifests, hidden }).unknown, [
    { cause: 'forbidden', codes: ['network-policy'] },
  ])
})

describe('a finding is accepted', () => {
  const lax = () => {
    const manifests = sound('production')
    manifests.workload.spec.replicas = 1
    manifests.service.spec.publishNotReadyAddresses = true
    return manifests
  }
  test('by --ignore', () => {
    const { findings, ignored } = check(factsIn(lax()), ['replicas', 'service-leader'])
    assert.deepEqual([findings, ignored], [[], 2])
  })
  for (const [where, of] of [
    ['its object', (m: ManifestSet) => m.service],
    ['its workload', (m: ManifestSet) => m.workload],
  ] as const)
    test(`by an annotation of ${where}`, () => {
      const manifests = lax()
      of(manifests).metadata.annotations = { [`${IGNORE_PREFIX}service-leader`]: 'a reason' }
      const { findings, ignored } = check(factsIn(manifests))
      assert.deepEqual([findings.map(({ code }) => code), ignored], [['replicas'], 1])
    })
})
