import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHmac, randomBytes } from 'node:crypto'
import {
  appendFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { ContentWatch } from '../../agent/launcher/content-watch.ts'
import { EnvFiles } from '../../agent/launcher/env-files.ts'
import { digestOfInputs, digestOfSecretKey } from '../../agent/launcher/keyed-digests.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { Series, until } from '../harness/wait.ts'

const LANGFLOW_SECRET_KEY = randomBytes(32).toString('base64url')
const POLL_MS = 5_000
/** One file more than the limit for a folder. */
const TOO_MANY = 10_001
const FLOW = '{"name":"a flow"}'

type Digests = NonNullable<ContentWatch['found']>
type Options = {
  readonly paths?: readonly string[]
  readonly variables?: NodeJS.ProcessEnv
  readonly envFiles?: readonly string[]
}

/** A folder of flows with a `ContentWatch` on it. */
class Folder {
  readonly dir = temporaryDirectory()
  readonly clock = new VirtualClock()
  readonly reports = new Series<Digests>()
  readonly env: EnvFiles
  readonly watch: ContentWatch

  constructor(t: TestContext, options: (folder: Folder) => Options = ({ dir }) => flowsAt(dir)) {
    const { paths = [], variables = {}, envFiles = [] } = options(this)
    const { clock } = this
    this.env = new EnvFiles(envFiles, variables)
    const changed = () => this.reports.add(this.watch.found as Digests)
    this.watch = new ContentWatch({ paths, env: this.env, clock, changed })
    t.after(() => this.watch.close())
  }

  /** The `n`th report. */
  async report(n: number): Promise<Digests> {
    await this.reports.next(`digest ${n}`, () => true, n - 1)
    return this.reports.list[n - 1]!
  }

  /** The next report of the content, after a look. */
  async seen(): Promise<NonNullable<Digests['content']>> {
    const { length } = this.reports.list
    this.watch.look()
    return (await this.report(length + 1)).content!
  }

  path = (name: string) => join(this.dir, name)
  put = (name: string, text: string) => writeFileSync(this.path(name), text)

  /** Swaps the target of a link, as the kubelet and git-sync do. */
  swap(link: string, target: string): void {
    symlinkSync(target, this.path('new-link'))
    renameSync(this.path('new-link'), this.path(link))
  }
}

function flowsAt(dir: string): Options {
  return { variables: { LANGFLOW_LOAD_FLOWS_PATH: dir } }
}

/** A folder below which everything counts. */
function content(t: TestContext, more: (folder: Folder) => Options = () => ({})): Folder {
  return new Folder(t, (folder) => ({
    paths: [folder.dir],
    variables: { LANGFLOW_SECRET_KEY, LANGFLOW_LOAD_FLOWS_PATH: folder.dir },
    ...more(folder),
  }))
}

/** The digest of the flows, as a new watch finds it. */
async function flowsOf({ dir }: Folder): Promise<string | null> {
  const found = Promise.withResolvers<void>()
  const clock = new VirtualClock()
  const env = new EnvFiles([], { LANGFLOW_LOAD_FLOWS_PATH: dir })
  const watch = new ContentWatch({ paths: [], env, clock, changed: found.resolve })
  watch.look()
  await found.promise
  watch.close()
  return watch.found!.flows
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
    for (const variables of [{}, { LANGFLOW_LOAD_FLOWS_PATH: folder.path('none') }]) {
      const other = new Folder(t, () => ({ variables }))
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
    rmSync(folder.path('huge.json'))
    for (let n = 0; n < TOO_MANY; n++) folder.put(`${n}.txt`, '')
    assert.equal(await flowsOf(folder), null)
    for (let n = 0; n < TOO_MANY; n++) rmSync(folder.path(`${n}.txt`))
    assert.equal(await flowsOf(folder), known)
    // A process can't read its own memory from address 0.
    symlinkSync('/proc/self/mem', folder.path('unreadable.json'))
    assert.equal(await flowsOf(folder), null)
  })

  test('is reported again only if a file has changed; the watch looks every 5 s and on request', async (t) => {
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
    await until('the end of the last look', () => folder.clock.next() === folder.clock.mono() + POLL_MS)
    appendFileSync(folder.path('a.json'), ' ')
    await folder.clock.pass(POLL_MS)
    assert.notEqual((await folder.report(3)).flows, second.flows)
    assert.equal(folder.reports.list.length, 3)
  })
})

describe('the content', () => {
  test('covers the names and bytes of all files below the paths, and is equal in each place', async (t) => {
    const [one, other] = [content(t), content(t)]
    for (const folder of [one, other]) {
      mkdirSync(folder.path('more'))
      folder.put('more/a.pem', 'a certificate')
      folder.put('a.json', FLOW)
    }
    const { digest, problem } = await one.seen()
    assert.match(digest ?? '', /^[0-9a-f]{12}$/)
    assert.deepEqual([problem, (await other.seen()).digest], [null, digest])
    renameSync(one.path('more/a.pem'), one.path('more/b.pem'))
    const renamed = await one.seen()
    one.put('more/b.pem', 'another one')
    const rewritten = await one.seen()
    assert.equal(new Set([digest, renamed.digest, rewritten.digest]).size, 3)
    assert.deepEqual(rewritten.earlier, [renamed.digest, digest])
    one.put('more/a.pem', 'a certificate')
    rmSync(one.path('more/b.pem'))
    const back = await one.seen()
    assert.deepEqual([back.digest, back.earlier.includes(digest!)], [digest, false])
  })

  test('is keyed by the secret key; without a key, no other launcher computes the same digest', async (t) => {
    const variables = { LANGFLOW_SECRET_KEY: randomBytes(32).toString('base64url') }
    const digests = []
    for (const given of [variables, { LANGFLOW_SECRET_KEY }, {}]) {
      const folder = content(t, () => ({ variables: given }))
      folder.put('password', '1234')
      digests.push((await folder.seen()).digest)
    }
    assert.equal(new Set(digests).size, 3)
  })

  test('follows the links that the kubelet and git-sync swap, and excludes their own names', async (t) => {
    const folder = content(t)
    const digests: (string | null)[] = []
    for (const [n, text] of ['{"name":"1"}', '{"name":"2"}', '{"name":"1"}'].entries()) {
      mkdirSync(folder.path(`..2026_${n}`))
      folder.put(`..2026_${n}/a.json`, text)
      folder.swap('..data', `..2026_${n}`)
      if (n === 0) folder.swap('a.json', '..data/a.json')
      digests.push((await folder.seen()).digest)
    }
    assert.deepEqual([digests[0] === digests[1], digests[0] === digests[2]], [false, true])
    const synced = new Folder(t, ({ path }) => ({
      paths: [path('current')],
      variables: { LANGFLOW_SECRET_KEY },
    }))
    for (const commit of ['one', 'two']) {
      mkdirSync(synced.path(commit))
      synced.put(`${commit}/.git`, `gitdir: of ${commit}`)
      synced.put(`${commit}/a.json`, FLOW)
    }
    synced.swap('current', 'one')
    const { digest } = await synced.seen()
    synced.swap('current', 'two')
    synced.put('two/b.json', FLOW)
    assert.notEqual((await synced.seen()).digest, digest)
  })

  test('keeps its last digest and reports the problem while the files cannot be used', async (t) => {
    const folder = content(t, ({ path }) => ({ paths: [path('set')] }))
    folder.watch.look()
    const set = folder.path('set')
    assert.equal((await folder.report(1)).content?.problem?.startsWith(set), true)
    mkdirSync(set)
    const { digest } = await folder.seen()
    const faults: ((path: string) => unknown)[] = [
      (path) => mkdirSync(path) ?? symlinkSync('..', join(path, 'again')),
      (path) => symlinkSync('bad', path),
      (path) => writeFileSync(path, '') ?? truncateSync(path, 300 * 1024 * 1024),
      (path) => symlinkSync('/proc/self/mem', path),
    ]
    for (const act of faults) {
      act(join(set, 'bad'))
      const { problem, digest: kept } = await folder.seen()
      assert.deepEqual([kept, problem?.includes(join(set, 'bad'))], [digest, true], problem ?? '')
      rmSync(join(set, 'bad'), { recursive: true })
      assert.deepEqual([(await folder.seen()).problem, folder.watch.found?.content?.digest], [null, digest])
    }
  })

  test('is not accepted if a file changes while it is read', async (t) => {
    const folder = content(t)
    folder.put('a', '1')
    const { open } = fs
    const [reached, answered] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const hangs = async (...args: Parameters<typeof open>) => {
      if (args[0] === folder.path('a')) reached.resolve()
      await answered.promise
      return open(...args)
    }
    t.mock.method(fs, 'open', hangs)
    syncBuiltinESMExports()
    folder.watch.look()
    await reached.promise
    appendFileSync(folder.path('a'), '2')
    answered.resolve()
    t.mock.restoreAll()
    syncBuiltinESMExports()
    assert.match((await folder.report(1)).content?.problem ?? '', /changes while it/)
    assert.match((await folder.seen()).digest ?? '', /^[0-9a-f]{12}$/)
  })

  test('is reported for LangFlow’s start as well, even if the first look ended after the start', async (t) => {
    const folder = content(t)
    folder.watch.started()
    const first = await folder.seen()
    assert.deepEqual([first.running, first.startedAt], [first.digest, folder.clock.mono()])
    await folder.clock.pass(500)
    folder.put('a.json', FLOW)
    const changed = await folder.seen()
    assert.deepEqual([changed.running, changed.since], [first.digest, folder.clock.mono()])
    assert.notEqual(changed.digest, first.digest)
    folder.watch.ended()
    assert.equal(folder.watch.found?.content?.running, null)
    folder.watch.started()
    assert.equal(folder.watch.found?.content?.running, changed.digest)
  })

  test('includes the first flow that would abort LangFlow’s start', async (t) => {
    const folder = content(t, ({ path }) => ({
      variables: { LANGFLOW_SECRET_KEY, LANGFLOW_LOAD_FLOWS_PATH: path('flows') },
    }))
    mkdirSync(folder.path('flows'))
    folder.put('no-flow.json', 'no flow')
    folder.put('flows/a.json', FLOW)
    const { digest, unfit } = await folder.seen()
    renameSync(folder.path('flows'), folder.path('away'))
    folder.put('flows', '')
    const { problem, digest: kept } = await folder.seen()
    assert.deepEqual([problem?.endsWith('flows is not a directory'), kept], [true, digest])
    rmSync(folder.path('flows'))
    renameSync(folder.path('away'), folder.path('flows'))
    folder.put('flows/a.json', '{"name":')
    const broken = await folder.seen()
    assert.deepEqual([unfit, broken.unfit], [false, true])
    assert.match(broken.problem ?? '', /flows\/a\.json is not JSON/)
    folder.put('flows/a.json', FLOW)
    const mended = await folder.seen()
    assert.deepEqual([mended.digest, mended.unfit, mended.problem], [digest, false, null])
  })

  test('that LangFlow runs from is unknown if the files could not be read at its start', async (t) => {
    const folder = content(t, ({ path }) => ({ paths: [path('set')] }))
    folder.watch.look()
    await folder.report(1)
    folder.watch.started()
    await folder.report(2)
    mkdirSync(folder.path('set'))
    const { digest, running } = await folder.seen()
    assert.deepEqual([digest === null, running], [false, 'unknown'])
  })

  test('includes the variables of env files, without their comments', async (t) => {
    const folder = content(t, ({ path }) => ({
      paths: [],
      envFiles: [path('env')],
      variables: { LANGFLOW_SECRET_KEY },
    }))
    folder.watch.look()
    const missing = (await folder.report(1)).content
    assert.deepEqual([missing?.unfit, missing?.problem], [true, folder.env.refusal])
    folder.put('env', 'PASSWORD=one')
    const { digest } = await folder.seen()
    folder.put('env', 'PASSWORD=two')
    assert.notEqual((await folder.seen()).digest, digest)
    folder.put('env', '# again\nPASSWORD="one"')
    assert.equal((await folder.seen()).digest, digest)
    folder.put('env', 'PASSWORD one')
    const broken = await folder.seen()
    assert.deepEqual([broken.digest, broken.unfit], [digest, false])
    assert.equal(broken.problem, folder.env.problem)
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
  const GIVEN = { LANGFLOW_SECRET_KEY, LANGFLOW_DATABASE_URL: 'postgresql://u:wrong@db/x', HOME: '/app' }
  const digest = digestOfInputs(GIVEN, 'f1')

  test('is the same in a recreated pod', () => {
    assert.match(digest ?? '', /^[0-9a-f]{16}$/)
    const { HOME, ...others } = GIVEN
    const ofPod = { HOSTNAME: 'langflow-x', POD_UID: '3f1c', MY_POD: hostname(), MY_IP: '127.0.0.1' }
    const ofProgram = { KUBERNETES_SERVICE_HOST: '10.0.0.1', LEADER_SOCKET: '/x' }
    assert.equal(digestOfInputs({ HOME, ...others, ...ofPod, ...ofProgram }, 'f1'), digest)
  })

  test('changes with the environment, the flows, the content and the secret key', () => {
    const changed = [
      digestOfInputs({ ...GIVEN, LANGFLOW_DATABASE_URL: 'postgresql://u:right@db/x' }, 'f1'),
      digestOfInputs({ ...GIVEN, MORE: '' }, 'f1'),
      digestOfInputs(GIVEN, 'f2'),
      digestOfInputs(GIVEN, null),
      digestOfInputs(GIVEN, 'f1', 'a file'),
      digestOfInputs({ ...GIVEN, LANGFLOW_SECRET_KEY: randomBytes(32).toString('base64url') }, 'f1'),
    ]
    assert.equal(new Set([...changed, digest]).size, 7)
  })

  test('is not reported for a weak key, from which a password of the environment could be guessed', () => {
    assert.equal(
      digestOfInputs({ ...GIVEN, LANGFLOW_SECRET_KEY: 'a passphrase of 32 characters or more' }),
      null,
    )
  })
})
