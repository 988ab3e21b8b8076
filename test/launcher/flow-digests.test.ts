import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHmac, randomBytes } from 'node:crypto'
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { DigestWatch, digestOfInputs, digestOfSecretKey } from '../../agent/launcher/flow-digests.ts'
import type { Digests } from '../../agent/link/link-messages.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { Series } from '../harness/wait.ts'

/** One file more than the limit for a folder. */
const TOO_MANY = 1_025

/** A folder of flows with a `DigestWatch` on it. */
class Folder {
  readonly dir = mkdtempSync(join(tmpdir(), 'digests-test-'))
  readonly clock = new VirtualClock()
  readonly reports = new Series<Digests>()
  readonly watch: DigestWatch

  constructor(t: TestContext, env: NodeJS.ProcessEnv = { LANGFLOW_LOAD_FLOWS_PATH: this.dir }) {
    const changed = (digests: Digests) => this.reports.add(digests)
    this.watch = new DigestWatch({ env, clock: this.clock, changed })
    t.after(() => {
      this.watch.close()
      rmSync(this.dir, { recursive: true })
    })
  }

  /** The `n`th report. */
  async report(n: number): Promise<Digests> {
    await this.reports.next(`digest ${n}`, () => true, n - 1)
    return this.reports.list[n - 1]!
  }

  path = (name: string) => join(this.dir, name)
  put = (name: string, text: string) => writeFileSync(this.path(name), text)
}

/** The digest of the flows, as a new watch finds it. */
async function flowsOf({ dir }: Folder): Promise<string | null> {
  const found = Promise.withResolvers<Digests>()
  const env = { LANGFLOW_LOAD_FLOWS_PATH: dir }
  const clock = new VirtualClock()
  const watch = new DigestWatch({ env, clock, changed: found.resolve })
  watch.look()
  const { flows } = await found.promise
  watch.close()
  return flows
}

describe('the digest of the flows', () => {
  test('covers names and contents, and equals that of sha256sum', async (t) => {
    const folder = new Folder(t)
    folder.put('b.json', '{"b":1}')
    folder.put('A.json', '{"a":1}')
    folder.put('with space.json', '')
    const shell = 'LC_ALL=C; sha256sum -- *.json | sha256sum | cut -c1-12'
    const expected = execFileSync('sh', ['-c', shell], { cwd: folder.dir, encoding: 'utf8' }).trim()
    assert.equal(await flowsOf(folder), expected)
    renameSync(folder.path('b.json'), folder.path('c.json'))
    assert.notEqual(await flowsOf(folder), expected)
  })

  test('covers the files that LangFlow loads: regular files and links to them, but no subfolders', async (t) => {
    const folder = new Folder(t)
    folder.put('a.json', '{}')
    const alone = await flowsOf(folder)
    folder.put('README.md', 'no flow')
    folder.put('.json', 'no flow')
    mkdirSync(folder.path('folder.json'))
    folder.put('folder.json/b.json', '{}')
    symlinkSync('nowhere.json', folder.path('dangling.json'))
    symlinkSync('circle.json', folder.path('circle.json'))
    symlinkSync('/dev/zero', folder.path('endless.json'))
    execFileSync('mkfifo', [folder.path('pipe.json')])
    assert.equal(await flowsOf(folder), alone)
    // A mounted ConfigMap has these links.
    mkdirSync(folder.path('..data'))
    renameSync(folder.path('a.json'), folder.path('..data/a.json'))
    symlinkSync('..data/a.json', folder.path('a.json'))
    assert.equal(await flowsOf(folder), alone)
  })

  test('is that of an empty input if the folder has no flow, and unknown if there is no folder', async (t) => {
    const folder = new Folder(t)
    assert.equal(await flowsOf(folder), 'e3b0c44298fc')
    for (const env of [{}, { LANGFLOW_LOAD_FLOWS_PATH: folder.path('none') }]) {
      const other = new Folder(t, env)
      other.watch.look()
      assert.deepEqual(await other.report(1), { flows: null, secretKey: null, inputs: null })
    }
  })

  test('is unknown if a flow cannot be read, is too large, or the folder has too many files', async (t) => {
    const folder = new Folder(t)
    folder.put('a.json', '{}')
    const known = await flowsOf(folder)
    folder.put('huge.json', '')
    truncateSync(folder.path('huge.json'), 1e12)
    assert.equal(await flowsOf(folder), null)
    unlinkSync(folder.path('huge.json'))
    for (let n = 0; n < TOO_MANY; n++) folder.put(`${n}.txt`, '')
    assert.equal(await flowsOf(folder), null)
    for (let n = 0; n < TOO_MANY; n++) unlinkSync(folder.path(`${n}.txt`))
    assert.equal(await flowsOf(folder), known)
    // A process can't read its own memory from address 0.
    symlinkSync('/proc/self/mem', folder.path('unreadable.json'))
    assert.equal(await flowsOf(folder), null)
  })

  test('is reported again only if a file has changed; the watch checks each minute and on request', async (t) => {
    const folder = new Folder(t)
    folder.put('a.json', '{}')
    folder.watch.look()
    const first = await folder.report(1)
    folder.watch.look()
    appendFileSync(folder.path('a.json'), ' ')
    folder.watch.look()
    const second = await folder.report(2)
    assert.notEqual(second.flows, first.flows)
    assert.deepEqual(folder.watch.found, second)
    appendFileSync(folder.path('a.json'), ' ')
    await folder.clock.pass(60_000)
    assert.notEqual((await folder.report(3)).flows, second.flows)
    assert.equal(folder.reports.list.length, 3)
  })
})

describe('the digest of the secret key', () => {
  const digestOf = (key?: string) => digestOfSecretKey({ LANGFLOW_SECRET_KEY: key })

  test('is the same for each encoding of a key, and differs between keys', () => {
    const bytes = randomBytes(32)
    const key = bytes.toString('base64url').padEnd(44, '=')
    const digest = digestOf(key)
    assert.match(digest ?? '', /^[0-9a-f]{8}$/)
    assert.equal(digestOf(bytes.toString('base64')), digest)
    assert.equal(digestOf(bytes.toString('base64url')), digest)
    assert.equal(digestOf(`${key}\n`), digest)
    assert.notEqual(digestOf(randomBytes(32).toString('base64url')), digest)
    // The digest isn't that of a common text, for which precomputed tables may exist.
    assert.notEqual(createHmac('sha256', bytes).update('').digest('hex').slice(0, 8), digest)
  })

  test('is not reported if the key could be guessed from it', () => {
    for (const key of [
      undefined,
      '',
      'a password',
      'a passphrase of more than 32 characters',
      'a'.repeat(64),
    ])
      assert.equal(digestOf(key), null, key)
  })
})

describe('the digest of the inputs of LangFlow’s start', () => {
  const LANGFLOW_SECRET_KEY = randomBytes(32).toString('base64url')
  const GIVEN = { LANGFLOW_SECRET_KEY, LANGFLOW_DATABASE_URL: 'postgresql://u:wrong@db/x', HOME: '/app' }
  const digest = digestOfInputs(GIVEN, 'f1')

  test('is the same in a recreated pod', () => {
    assert.match(digest ?? '', /^[0-9a-f]{16}$/)
    const { HOME, ...others } = GIVEN
    const ofPod = { HOSTNAME: 'langflow-x', POD_UID: '3f1c', MY_POD: hostname(), MY_IP: '127.0.0.1' }
    const ofProgram = { KUBERNETES_SERVICE_HOST: '10.0.0.1', LEADER_SOCKET: '/x' }
    assert.equal(digestOfInputs({ HOME, ...others, ...ofPod, ...ofProgram }, 'f1'), digest)
  })

  test('changes with the environment, the flows and the secret key', () => {
    const changed = [
      digestOfInputs({ ...GIVEN, LANGFLOW_DATABASE_URL: 'postgresql://u:right@db/x' }, 'f1'),
      digestOfInputs({ ...GIVEN, MORE: '' }, 'f1'),
      digestOfInputs(GIVEN, 'f2'),
      digestOfInputs(GIVEN, null),
      digestOfInputs({ ...GIVEN, LANGFLOW_SECRET_KEY: randomBytes(32).toString('base64url') }, 'f1'),
    ]
    assert.equal(new Set([...changed, digest]).size, 6)
  })

  test('is not reported if the key is weak enough to guess a password of the environment from it', () => {
    for (const key of ['', 'a passphrase of more than 32 characters'])
      assert.equal(digestOfInputs({ ...GIVEN, LANGFLOW_SECRET_KEY: key }, 'f1'), null)
  })
})
