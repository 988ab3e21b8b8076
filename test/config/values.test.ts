import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import {
  formatDuration,
  formatListen,
  listed,
  parseDuration,
  parseIdentity,
  parseLeaseDuration,
  parseListen,
  parseNamespace,
  parseObjectName,
  parsePath,
  parsePeers,
  parseSocket,
  parseTarget,
  shortDuration,
} from '../../agent/config/values.ts'

interface Value {
  readonly parse: (text: string) => unknown
  readonly good: readonly (readonly [text: string, meaning: unknown])[]
  /** Texts that are refused, after the sentence of the refusal. */
  readonly bad: readonly (readonly [sentence: RegExp, ...texts: string[]])[]
}

const same = (...texts: string[]) => texts.map((text) => [text, text] as const)
const PEER = { host: 'a', port: 1 }
const target = (origin: string, port: number) => ({ origin, port })

const VALUES: Readonly<Record<string, Value>> = {
  'a duration': {
    parse: (text) => parseDuration(text, 0),
    good: [
      ['15s', 15_000],
      ['1m30s', 90_000],
      ['500ms', 500],
      ['1h', 3_600_000],
      ['1.5s', 1500],
      ['0.3s', 300],
      ['1m0.25s', 60_250],
      ['24h', 86_400_000],
      ['0', 0],
      ['0s', 0],
    ],
    bad: [
      [/needs a unit.* 15s or 15ms$/, '15'],
      [/needs a unit.* 1\.5s/, '1.5'],
      [/units h, m, s/, ...['', 's', '-5s', ' 15s', '15S', '1d', '1e3s', '.5s', '1s\n', 'Infinity']],
      [/^use at most 24h$/, '25h', `${'9'.repeat(400)}s`],
    ],
  },
  'a duration of at least 100 ms': {
    parse: (text) => parseDuration(text, 100),
    good: [['100ms', 100]],
    bad: [[/^use at least 100ms$/, '0', '50ms']],
  },
  'a lease duration': {
    parse: parseLeaseDuration,
    good: [['2s', 2000]],
    bad: [
      [/^use at least 2s$/, '1s'],
      [/whole seconds: use 16s$/, '15500ms'],
    ],
  },
  'an address to listen on': {
    parse: parseListen,
    good: [
      [':8090', { host: null, port: 8090 }],
      ['127.0.0.1:0', { host: '127.0.0.1', port: 0 }],
      ['[::1]:8090', { host: '::1', port: 8090 }],
      ['[::]:65535', { host: '::', port: 65_535 }],
    ],
    bad: [
      [
        /such as :8090, /,
        ...['8090', '', '::1:8090', 'http://127.0.0.1:8090', ':65536', ':-1', ':http', ':'],
        ...['localhost:8090', '256.0.0.1:8090', '[127.0.0.1]:8090', '[]:8090'],
      ],
    ],
  },
  "the workload's address": {
    parse: parseTarget,
    good: [
      ['http://127.0.0.1:7860', target('http://127.0.0.1:7860', 7860)],
      ['http://localhost:80/', target('http://localhost:80', 80)],
      ['https://127.0.0.1:443', target('https://127.0.0.1:443', 443)],
      ['http://[::1]:7860', target('http://[::1]:7860', 7860)],
      ['HTTP://127.9.9.9:1', target('http://127.9.9.9:1', 1)],
    ],
    bad: [
      [
        /such as http:\/\/127\.0\.0\.1:7860$/,
        ...['127.0.0.1:7860', 'ftp://127.0.0.1:7860', '', 'http://127.0.0.1:99999', 'http://127.0.0.1'],
        ...[
          'http://127.0.0.1:7860/api',
          'http://127.0.0.1:7860/?x=1',
          'http://127.0.0.1:0',
          'http://10.0.0.7:1',
        ],
        ...['http://127.0.0.1.example.com:7860', 'http://u:p@127.0.0.1:7860', 'http://127.0.0.999:7860'],
      ],
    ],
  },
  "the peers' addresses": {
    parse: parsePeers,
    good: [
      ['langflow-members.svc.cluster.local.:1', [{ host: 'langflow-members.svc.cluster.local.', port: 1 }]],
      ['10.0.0.7:65535', [{ host: '10.0.0.7', port: 65_535 }]],
      ['a:1, [fd00::7]:2', [PEER, { ...PEER, host: 'fd00::7', port: 2 }]],
    ],
    bad: [
      [
        /such as langflow-members:8090 or /,
        ...['langflow-members', '', ':8090', 'fd00::7:8090', 'http://langflow-members:8090', '[]:8090'],
        ...['members:8090/status', 'members:0', 'members:65536', '[langflow-members]:8090', 'user@host:8090'],
        ...['-members:8090', 'a..b:8090', `${'a'.repeat(254)}:8090`, 'a:1,', 'a:1,,b:1', 'a:1 b:1'],
      ],
    ],
  },
  "an object's name": {
    parse: parseObjectName,
    good: same('a.b-c.0', 'a'.repeat(253)),
    bad: [
      [
        /lower-case letters.*such as langflow-leader-lock$/,
        ...['', 'A', 'a_b', '-a', 'a-', '.a', 'a..b', 'a/b', 'a\n', 'ä', 'a'.repeat(254)],
      ],
    ],
  },
  'a namespace': {
    parse: parseNamespace,
    good: same('team-1'),
    bad: [[/at most 63 lower-case letters.*such as langflow$/, '', 'a.b', 'A', 'a'.repeat(64)]],
  },
  'an identity': {
    parse: parseIdentity,
    good: same('langflow-0_3f1c'),
    bad: [[/^use 1 to 512 printable ASCII characters/, '', 'a b', 'a\nb', 'ä', 'x'.repeat(513)]],
  },
  'a path': {
    parse: parsePath,
    good: [['/run//x/../y', '/run/y']],
    bad: [[/^use an absolute path, such as /, '', 'run/x', './x', '/a\0b']],
  },
  "a socket's path": {
    parse: parseSocket,
    good: same(`/${'a'.repeat(106)}`),
    bad: [[/^the path has 108 bytes: use at most 107/, `/${'a'.repeat(107)}`]],
  },
}

describe('a value', () => {
  for (const [name, { parse, good, bad }] of Object.entries(VALUES))
    it(`is read or refused: ${name}`, () => {
      for (const [text, meaning] of good) assert.deepEqual(parse(text), meaning, text)
      for (const [message, ...texts] of bad)
        for (const text of texts) assert.throws(() => parse(text), { message }, JSON.stringify(text))
    })

  it('is formatted as a text with the same meaning', () => {
    const isSame = (ms: number) => parseDuration(formatDuration(ms), 0) === ms
    fc.assert(fc.property(fc.integer({ min: 0, max: 86_400_000 }), isSame), { seed: 1 })
    for (const text of [':8090', '127.0.0.1:0', '[::1]:8090'])
      assert.equal(formatListen(parseListen(text)), text)
  })
})

describe('a text for people', () => {
  it('contains a time in at most two units, or with one decimal', () => {
    const spans = [null, -5, 0.4, 86, 999.6, 15_430, 99_949, 99_950, 192_000, 7_500_000, 187_200_000]
    const texts = ['-', '0s', '0s', '86ms', '1s', '15.4s', '99.9s', '1m39s', '3m12s', '2h5m', '2d4h']
    const shown = spans.map((ms) => shortDuration(ms))
    assert.deepEqual(shown, texts)
  })

  it('contains a list with a word before its last entry', () => {
    const lists = [[], ['a'], ['a', 'b'], ['a', 'b', 'c']].map((words) => listed(words))
    assert.deepEqual(lists, ['', 'a', 'a and b', 'a, b and c'])
    assert.equal(listed(['a', 'b', 'c'], 'or'), 'a, b or c')
  })
})
