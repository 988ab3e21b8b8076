import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { faultOfSecretKey } from '../../agent/launcher/secret-key.ts'

const COMMAND = ['langflow', 'run', '--host', '0.0.0.0']
const faultOf = (key: string, command: readonly string[] = COMMAND) =>
  faultOfSecretKey(command, { LANGFLOW_SECRET_KEY: key })

/** 43 of them are 258 bits: 32 bytes, and two bits that nobody reads. */
const DATA = 'abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG'

describe('the secret key that LangFlow is given', () => {
  for (const [name, key] of Object.entries({
    'as openssl and tr print it': randomBytes(32)
      .toString('base64')
      .replaceAll('+', '-')
      .replaceAll('/', '_'),
    'in the other alphabet': `+/${DATA.slice(2)}=`,
    'without the padding, which LangFlow adds': DATA,
    'with a line break after it': `${DATA}=\n`,
    'shorter than 32 characters, of which LangFlow takes the SHA-256': 'a'.repeat(31),
  })) {
    test(`nothing is said of one ${name}`, () => assert.equal(faultOf(key), null))
  }

  for (const [name, key] of Object.entries({
    'of openssl rand -hex 32': randomBytes(32).toString('hex'),
    'of openssl rand -hex 16': randomBytes(16).toString('hex'),
    'a passphrase': 'a passphrase of more than 32 characters',
    'of 33 bytes': `${DATA}H`,
    'of 31 bytes': `${DATA.slice(1)}==`,
    'whose line break is in the place of the padding': `${DATA}\n`,
  })) {
    test(`LangFlow can encrypt nothing with one ${name}, and the sentence does not hold it`, () => {
      const said = faultOf(key)
      assert.match(said ?? '', /^LANGFLOW_SECRET_KEY is not 32 url-safe base64-encoded bytes: /)
      assert.ok(!said?.includes(key))
    })
  }

  test('without one each replica makes its own', () => {
    assert.match(faultOf('') ?? '', /^LANGFLOW_SECRET_KEY is not in LangFlow's environment: /)
    assert.equal(faultOfSecretKey(['bash', '-c', 'source x; langflow run'], {}), faultOf(''))
    assert.equal(faultOfSecretKey(['python', '-m', 'langflow', 'run'], {}), faultOf(''))
  })

  test('what is no LangFlow needs none', () => {
    assert.equal(faultOf('', ['node', 'server.mjs']), null)
    assert.equal(faultOf('', ['langflow', 'superuser']), null)
  })
})
