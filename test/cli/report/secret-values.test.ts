import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { secretRemover } from '../../../agent/cli/report/secret-values.ts'

const GONE = '[redacted]'
/** It has characters that each encoding changes. */
const PASSWORD = `p<a>ss "w\\ö/rd" 1+!?>`

/** @param value of a Secret, as a container reads it */
function removed(value: string | Buffer, text: string): string {
  return secretRemover([Buffer.from(value)])(text)
}

const SERVER = { auth: Buffer.from(`me:${PASSWORD}`).toString('base64') }
const VALUES: readonly (readonly [what: string, value: string])[] = [
  ['a value', PASSWORD],
  ['a value that ends with a line break', `${PASSWORD}\n`],
  ['a string of JSON', JSON.stringify({ db: [{ password: PASSWORD }] })],
  ['a string of JSON in JSON', JSON.stringify({ db: JSON.stringify({ password: PASSWORD }) })],
  ['the password of a registry', JSON.stringify({ auths: { 'r.example.org': SERVER } })],
  ['a variable of an env file', `A=1\nexport PASSWORD='${PASSWORD}'\nB=2\n`],
  ['a field of YAML', `user: me\npassword: ${PASSWORD}\n`],
  ['a field of a configuration file', `[default]\naccess = me\nsecret_key = ${PASSWORD}\n`],
  ['a field of an item of a YAML list', `users:\n- password: ${PASSWORD}\n`],
  ['an item of a YAML list', `passwords:\n- ${PASSWORD}\n`],
  ['a variable with a comment', `A=1\nPASSWORD=${PASSWORD} # of the database\n`],
  ['a field of a connection string', `host=db password=${encodeURIComponent(PASSWORD)}`],
  ['a field of a YAML object on one line', `{password: ${encodeURIComponent(PASSWORD)}, user: me}`],
  ['a field of a query', `postgresql://db/x?user=me&password=${encodeURIComponent(PASSWORD)}`],
  ['a password of netrc', `machine db login me password ${encodeURIComponent(PASSWORD)}\n`],
  ['a header', `Authorization: Bearer ${encodeURIComponent(PASSWORD)}`],
  ['the token of a URL', `https://${encodeURIComponent(PASSWORD)}@example.org/x.git`],
  ['a line', `-----BEGIN-----\n${PASSWORD}\n-----END-----\n`],
  ['the password of a URL', `postgresql://me:${encodeURIComponent(PASSWORD)}@db/x`],
]
const quoted = (text: string) => JSON.stringify(text).slice(1, -1)
const ENCODINGS: readonly (readonly [what: string, encode: (text: string) => string])[] = [
  ['plain', (text) => text],
  ['in JSON', quoted],
  ['in JSON in JSON', (text) => quoted(quoted(text))],
  ['in a URL', encodeURIComponent],
  ['in base64', (text) => Buffer.from(text).toString('base64')],
]

describe('of a Secret, a report does not contain', () => {
  for (const [what, value] of VALUES)
    test(what, () => {
      for (const [how, encode] of ENCODINGS)
        assert.equal(removed(value, `a ${encode(PASSWORD)} b`), `a ${GONE} b`, how)
    })

  test('a value with binary data, in base64', () => {
    const binary = Buffer.from('00ff80fe01c0ffee', 'hex')
    assert.equal(removed(binary, `a ${binary.toString('base64')} b`), `a ${GONE} b`)
  })

  test('a value in the base64 of URLs', () => {
    assert.equal(removed('>>>???>>>', `a ${Buffer.from('>>>???>>>').toString('base64url')} b`), `a ${GONE} b`)
  })

  test('values that touch, overlap, or contain each other', () => {
    const remove = secretRemover(['abcdefgh', 'efghijkl', '1abcdefgh2'].map((one) => Buffer.from(one)))
    assert.equal(remove('- 1abcdefgh2 efghijklabcdefgh abcdefghijkl -'), `- ${GONE} ${GONE} ${GONE} -`)
  })

  test('the password of a URL as it stands there', () => {
    assert.equal(removed('postgresql://me:p%20ssword@db/x', 'a p%20ssword b'), `a ${GONE} b`)
  })

  test('a value with very many URLs, in time', () => {
    const began = performance.now()
    removed('://:'.repeat(100_000), '')
    assert.ok(performance.now() - began < 10_000)
  })

  const ascii = (constraints: object) => fc.string({ unit: 'binary-ascii', ...constraints })
  test('the characters of a longer base64 that depend only on a value', () => {
    const text = fc.tuple(ascii({ maxLength: 9 }), fc.uuid(), ascii({ maxLength: 9 }))
    fc.assert(
      fc.property(text, ([before, value, after]) => {
        const encoded = Buffer.from(before + value + after).toString('base64')
        const first = Math.ceil((before.length * 8) / 6)
        const end = Math.floor(((before.length + value.length) * 8) / 6)
        const rest = after === '' ? '' : encoded.slice(end)
        assert.equal(removed(value, encoded), `${encoded.slice(0, first)}${GONE}${rest}`)
      }),
      { numRuns: 300, seed: 1 },
    )
  })
})

test('nothing else is removed: short values, and the name that each line has', () => {
  const text = '{"component":"launcher","msg":"langflow-leader is true"}'
  for (const value of ['true', 'langflow', 'a=true', '{"a":{"b":"is"}}'])
    assert.equal(removed(value, text), text)
})
