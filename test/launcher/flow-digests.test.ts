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

/** As many files in a folder are too many. */
const TOO_MANY = 1_025

/** A folder of flows, and who looks at it. */
class Folder {
  readonly dir = mkdtempSync(join(tmpdir(), 'digests-test-'))
  readonly clock = new VirtualClock()
  readonly told = new Series<Digests>()
  readonly watch: DigestWatch

  constructor(t: TestContext, env: NodeJS.ProcessEnv = { LANGFLOW_LOAD_FLOWS_PATH: this.dir }) {
    const changed = (digests: Digests) => this.told.add(digests)
    this.watch = new DigestWatch({ env, clock: this.clock, changed })
    t.after(() => {
      this.watch.close()
      rmSync(this.dir, { recursive: true })
    })
  }

  /** The `n`th that was told. */
  async heard(n: number): Promise<Digests> {
    await this.told.next(`digest ${n}`, () => true, n - 1)
    return this.told.list[n - 1]!
  }

  path = (name: string) => join(this.dir, name)
  put = (name: string, text: string) => writeFileSync(this.path(name), text)
}

/** What one who looks for the first time finds. */
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
  test('is that of names and contents, as sha256sum makes it', async (t) => {
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

  test('is of what LangFlow loads: regular files, also through links, not those in folders', async (t) => {
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
    // As a ConfigMap is mounted.
    mkdirSync(folder.path('..data'))
    renameSync(folder.path('a.json'), folder.path('..data/a.json'))
    symlinkSync('..data/a.json', folder.path('a.json'))
    assert.equal(await flowsOf(folder), alone)
  })

  test('is of nothing where there is no flow, and unknown where there is no folder', async (t) => {
    const folder = new Folder(t)
    assert.equal(await flowsOf(folder), 'e3b0c44298fc')
    for (const env of [{}, { LANGFLOW_LOAD_FLOWS_PATH: folder.path('none') }]) {
      const other = new Folder(t, env)
      other.watch.look()
      assert.deepEqual(await other.heard(1), { flows: null, secretKey: null, inputs: null })
    }
  })

  test('is unknown where a flow cannot be read, or where there is too much of them', async (t) => {
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
    // Its own memory is a file that nobody can read from its beginning.
    symlinkSync('/proc/self/mem', folder.path('unreadable.json'))
    assert.equal(await flowsOf(folder), null)
  })

  test('is told anew once a file has changed, each minute and when it is looked', async (t) => {
    const folder = new Folder(t)
    folder.put('a.json', '{}')
    folder.watch.look()
    const first = await folder.heard(1)
    folder.watch.look()
    appendFileSync(folder.path('a.json'), ' ')
    folder.watch.look()
    const second = await folder.heard(2)
    assert.notEqual(second.flows, first.flows)
    assert.deepEqual(folder.watch.found, second)
    appendFileSync(folder.path('a.json'), ' ')
    await folder.clock.pass(60_000)
    assert.notEqual((await folder.heard(3)).flows, second.flows)
    assert.equal(folder.told.list.length, 3)
  })
})

describe('the digest of the secret key', () => {
  const digestOf = (key?: string) => digestOfSecretKey({ LANGFLOW_SECRET_KEY: key })

  test('tells one key from another, however each is written', () => {
    const bytes = randomBytes(32)
    const key = bytes.toString('base64url').padEnd(44, '=')
    const digest = digestOf(key)
    assert.match(digest ?? '', /^[0-9a-f]{8}$/)
    assert.equal(digestOf(bytes.toString('base64')), digest)
    assert.equal(digestOf(bytes.toString('base64url')), digest)
    assert.equal(digestOf(`${key}\n`), digest)
    assert.notEqual(digestOf(randomBytes(32).toString('base64url')), digest)
    // Keyed: a table of digests made for another text is of no use.
    assert.notEqual(createHmac('sha256', bytes).update('').digest('hex').slice(0, 8), digest)
  })

  test('is told of no key that could be guessed from it', () => {
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

describe('the digest of what LangFlow starts from', () => {
  const LANGFLOW_SECRET_KEY = randomBytes(32).toString('base64url')
  const GIVEN = { LANGFLOW_SECRET_KEY, LANGFLOW_DATABASE_URL: 'postgresql://u:wrong@db/x', HOME: '/app' }
  const digest = digestOfInputs(GIVEN, 'f1')

  test('is the same in a pod that is made anew', () => {
    assert.match(digest ?? '', /^[0-9a-f]{16}$/)
    const { HOME, ...others } = GIVEN
    const ofPod = { HOSTNAME: 'langflow-x', POD_UID: '3f1c', MY_POD: hostname(), MY_IP: '127.0.0.1' }
    const ofProgram = { KUBERNETES_SERVICE_HOST: '10.0.0.1', LEADER_SOCKET: '/x' }
    assert.equal(digestOfInputs({ HOME, ...others, ...ofPod, ...ofProgram }, 'f1'), digest)
  })

  test('changes with the environment, the flows and the key, and is keyed with that', () => {
    const changed = [
      digestOfInputs({ ...GIVEN, LANGFLOW_DATABASE_URL: 'postgresql://u:right@db/x' }, 'f1'),
      digestOfInputs({ ...GIVEN, MORE: '' }, 'f1'),
      digestOfInputs(GIVEN, 'f2'),
      digestOfInputs(GIVEN, null),
      digestOfInputs({ ...GIVEN, LANGFLOW_SECRET_KEY: randomBytes(32).toString('base64url') }, 'f1'),
    ]
    assert.equal(new Set([...changed, digest]).size, 6)
  })

  test('is told of no key from which a password in the environment could be guessed', () => {
    for (const key of ['', 'a passphrase of more than 32 characters'])
      assert.equal(digestOfInputs({ ...GIVEN, LANGFLOW_SECRET_KEY: key }, 'f1'), null)
  })
})
