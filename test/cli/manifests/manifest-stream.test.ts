import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { parseAllDocuments } from 'yaml'
import type { Fields } from '../../../agent/cli/manifests/manifest.ts'
import { parseStream, readStream, renderStream } from '../../../agent/cli/manifests/manifest-stream.ts'
import { temporaryDirectory } from '../../harness/temporary-directory.ts'

function read(text: string): Fields[] {
  return parseStream(text, 'app.yaml')
}

describe('manifests are read as kubectl reads them', () => {
  // The values are the output of `kubectl label --local -f - -o json` 1.37.
  for (const [text, value] of [
    ['yes', true],
    ['On', true],
    ['n', false],
    ['0640', 416],
    ['0o640', 416],
    ['-0o7', -7],
    ['0x1F', 31],
    ['0b11', 3],
    ['1_000', 1000],
    ['018', 18],
    ['1e3', 1000],
    ['12:30', '12:30'],
    ['2001-12-14', '2001-12-14'],
    ['"0640"', '0640'],
    ['9223372036854775807', 9223372036854775807n],
    ['!!binary aGVsbG8=', 'hello'],
    ['!thing text', 'text'],
    ['~', null],
  ] as const)
    test(`${text} is ${typeof value} ${value}`, () => assert.deepEqual(read(`a: ${text}`), [{ a: value }]))

  test('aliases and merge keys are expanded, and share no object', () => {
    const [{ a, b, c }] = read('a: &x { k: [1] }\nb: *x\nc: { <<: *x, d: 2 }') as [Record<string, Fields>]
    assert.deepEqual([b, c], [{ k: [1] }, { k: [1], d: 2 }])
    for (const other of [b, c]) assert.notEqual(other!.k, a!.k)
  })

  test('of merged objects, the first counts, and own keys count most', () => {
    const [{ c }] = read(
      'a: &a { k: 1, l: 1, m: 1 }\nb: &b { <<: *a, l: 2, p: 2 }\nc: { m: 3, <<: [*b, *a] }',
    ) as [Fields]
    assert.deepEqual(c, { k: 1, l: 2, m: 3, p: 2 })
    assert.throws(() => read('a: { <<: 1 }'), { name: 'FatalError', message: /needs an object/ })
  })

  test('the last value of a duplicate key counts', () => {
    assert.deepEqual(read('a: 1\na: 2'), [{ a: 2 }])
  })

  test('empty documents are ignored, and a List counts as its items', () => {
    const list = 'kind: List\nitems: [{ kind: A }, { kind: B }]\n'
    const text = `---\n# Source: chart\n---\n${list}...\n---\nkind: C\n---\n`
    assert.deepEqual(read(text), [{ kind: 'A' }, { kind: 'B' }, { kind: 'C' }])
  })
})

describe('the error for invalid YAML has the file, and the line if it is known', () => {
  for (const [text, message] of [
    ['kind: A\n---\na: [1\nb: 2\n', /^app\.yaml, line [34]: not valid YAML: [^\n]+$/],
    ['a: "\\q"\n', /^app\.yaml, line 1: not valid YAML: Invalid escape sequence \\q$/],
    [
      'image: {{ if .Values.tag }}{{ end }}\n',
      /^app\.yaml, line 1: .*: this line is a template: render it first/,
    ],
    ['kind: &m { labels: *m }\n', /^app\.yaml: not valid YAML: /],
    [`a: ${'['.repeat(10_000)}`, /^app\.yaml(, line 1)?: not valid YAML: /],
    ['a: *nobody\n', /^app\.yaml: not valid YAML: Unresolved alias/],
    ['--- text\n', /^app\.yaml: the document "text" is not a Kubernetes object: remove it$/],
  ] as const)
    test(text.slice(0, 40), () => assert.throws(() => read(text), { name: 'FatalError', message }))
})

describe('a stream beyond a limit is refused with exit code 2', () => {
  const nested = 'abcdefghi'.replace(/./g, (name, at) => {
    const inner = at === 0 ? 'x' : `*${'abcdefghi'[at - 1]}`
    return `${name}: &${name} [${`${inner},`.repeat(10)}]\n`
  })
  const merged = `a: &a { k: [${'1,'.repeat(1_000)}] }\nb: [${'{ <<: *a },'.repeat(2_500)}]\n`
  const merges = Array.from({ length: 40 }, (_, n) => `a${n + 1}: &a${n + 1} { <<: [*a${n}, *a${n}] }\n`)
  const wide = `a: &a { k: [${'1,'.repeat(100_000)}] }\nb: { <<: [${'*a,'.repeat(100)}] }\n`
  for (const [what, text] of [
    ['nested merge keys', `a0: &a0 { k: 1 }\n${merges.join('')}`],
    ['a long list, merged many times', wide],
    ['10,001 aliases', `a: &x 1\nb: [${'*x,'.repeat(10_001)}]\n`],
    ['10,001 anchors', `b: [${'&x 1,'.repeat(10_001)}]\n`],
    ['nested aliases', nested],
    ['merged aliases', merged],
  ] as const)
    test(what, () => assert.throws(() => read(text), { name: 'FatalError', exitCode: 2 }))

  test('an input without an end, and two files of 9 MiB', async () => {
    const dir = temporaryDirectory()
    const files = ['a.yaml', 'b.yaml'].map((name) => join(dir, name))
    for (const file of files) writeFileSync(file, '\n'.repeat(9 * 1024 * 1024))
    await assert.rejects(readStream(['/dev/zero']), { name: 'FatalError', exitCode: 2 })
    await assert.rejects(readStream(files), { name: 'FatalError', exitCode: 2 })
  })
})

test('a nesting that is too deep is reported as such', () => {
  for (const text of [`a: ${'['.repeat(20_000)}${']'.repeat(20_000)}\n`, 'a: &a { <<: *a }\n'])
    assert.throws(() => read(text), { name: 'FatalError', message: /nested too deeply/ })
})

test('a stream within the limits is read: 10,000 aliases of one anchor, and texts that look like aliases', () => {
  const [{ b }] = read(`a: &x 1\nb: [${'*x,'.repeat(10_000)}]\nc: "${' *x'.repeat(10_001)}"\n`) as [
    { b: number[] },
  ]
  assert.equal(b.length, 10_000)
})

/** Words that YAML 1.1 or 1.2 does not read as text, and pieces of such words. */
const WORD = fc.oneof(
  fc.constantFrom(...'y No on OFF true ~ null = << 0640 0o640 -0o7 0O17 +_1 1_ 8e7_ 12:30'.split(' ')),
  fc.constantFrom(...'2001-12-14 .inf .5 1. 1e3 *a'.split(' '), '', ' a ', 'a: b', 'a #b', '- a', '\ttab'),
  fc.constantFrom('set -e\n\n# no comment\nrun\n', 'trailing \nspace', 'end\n\n\n', 'word '.repeat(80)),
  fc.stringMatching(/^[-+]?[0-9box_.:eE]{1,8}$/),
  fc.string({ unit: 'grapheme' }),
)
const VALUE = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    WORD,
    fc.constantFrom(null, true, false, 416, -1, 0.1, 1e23),
    fc.array(tie('value'), { maxLength: 3 }),
    tie('map'),
  ),
  map: fc.dictionary(WORD, tie('value'), { maxKeys: 4, noNullPrototype: true }),
}))
const OBJECTS = fc.array(VALUE.map as fc.Arbitrary<Fields>, { minLength: 1, maxLength: 3 })

test('readers of YAML 1.1 and YAML 1.2 read the same values from the output', () => {
  fc.assert(
    fc.property(OBJECTS, (objects) => {
      const text = renderStream(objects)
      assert.deepEqual(read(text), objects)
      for (const version of ['1.1', '1.2'] as const) {
        const documents = parseAllDocuments(text, { version })
        assert.deepEqual(
          documents.map((document) => document.toJS()),
          objects,
        )
      }
    }),
    { numRuns: 300, seed: 1 },
  )
})

test('a number outside the range of JavaScript keeps its digits', () => {
  assert.match(renderStream([{ a: 2n ** 63n - 1n }]), /: 9223372036854775807\b/)
})

test('a text that only kubectl reads as a number or a line break is quoted', () => {
  for (const text of ['+_1', '8e7_', '0O17', '-0o7', '\u2028', '\u0085'])
    assert.match(renderStream([{ a: text }]), /^a: "[!-~]+"\n$/)
})

test('of a directory, the files that kubectl reads are read, in the order of their names', async () => {
  const dir = temporaryDirectory()
  mkdirSync(join(dir, 'd.yaml'))
  for (const name of ['c.json', 'b.yml', 'a.yaml', 'README.md', 'd.yaml/e.yaml'])
    writeFileSync(join(dir, name), JSON.stringify({ kind: name }))
  const objects = await readStream([join(dir, 'b.yml'), dir])
  assert.deepEqual(
    objects.map(({ kind }) => kind),
    ['b.yml', 'a.yaml', 'b.yml', 'c.json'],
  )
})
