import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { globSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Report } from '../../agent/cli/drill/drill-report.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { freePort } from '../harness/free-port.ts'
import {
  API_KEY,
  LANGFLOW_MISSING,
  langflowBinary,
  langflowEnvironment,
  writeFlow,
} from '../harness/langflow.ts'
import { type ItemName, LangflowItems, LangflowUser } from '../harness/langflow-items.ts'
import { startPostgres } from '../harness/postgres.ts'
import type { Replica } from '../harness/replica.ts'
import { MOTO_MISSING, motoServer, S3 } from '../harness/s3.ts'
import { EmbeddedScene } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'

// Each test is a row of the table in docs/guide/state.md, or several.

const STARTS_WITHIN_MS = 120_000
const binary = langflowBinary() as string
const noLangflow = binary === undefined && LANGFLOW_MISSING
const noS3 = motoServer() === undefined && MOTO_MISSING

/** In the memory of one LangFlow: no takeover keeps it. */
const IN_MEMORY: readonly ItemName[] = ['build under way', 'background run under way']
const UPLOADS: readonly ItemName[] = ['upload (v1)', 'upload (v2)']
const VECTORS: readonly ItemName[] = ['knowledge base vectors']

/** Replicas that lead one after the other, each with its own storage. Users reach LangFlow through the front of a replica. */
class Succession {
  readonly #scene: EmbeddedScene
  readonly #flows: string
  #leader: Replica | undefined
  #front = 0
  #count = 0

  constructor(scene: EmbeddedScene) {
    this.#scene = scene
    this.#flows = writeFlow(binary, join(scene.dir, 'flows'))
    writeFlow(binary, this.#flows, 'hold')
  }

  /** The directory of one or several replicas: LANGFLOW_CONFIG_DIR and HOME, as in deploy/langflow.yaml. */
  directory(name: string): string {
    return join(this.#scene.dir, `data-${name}`)
  }

  get user(): LangflowUser {
    return new LangflowUser(`http://127.0.0.1:${this.#front}`)
  }

  /** Starts a replica, and ends the leader. */
  async next(directory: string, env: NodeJS.ProcessEnv = {}): Promise<void> {
    await this.#lead(await this.#follower(directory, env))
  }

  /**
   * Starts a replica, which a drill makes the leader. Resolves to the report. On a busy machine, this cold start takes longer than
   * the 30 s after which the drill gives up a request, so the report may also name failed requests.
   */
  async drilled(directory: string, env: NodeJS.ProcessEnv = {}): Promise<Report> {
    const replica = await this.#follower(directory, env)
    await until('its front takes clients', async () => {
      const answer = await replica.get('/frontz').catch(() => null)
      return answer?.status === 200
    })
    const report = await this.#drill()
    await this.#lead(replica)
    return report
  }

  async #lead(replica: Replica): Promise<void> {
    await this.#leader?.stop()
    await replica.event('serving', 0, STARTS_WITHIN_MS)
    this.#leader = replica
  }

  async #follower(directory: string, env: NodeJS.ProcessEnv): Promise<Replica> {
    const identity = `langflow-${this.#count++}`
    const port = await freePort()
    this.#front = await freePort()
    const address = `127.0.0.1:${this.#front}`
    const TMPDIR = join(this.#scene.dir, `${identity}-tmp`)
    mkdirSync(TMPDIR)
    return this.#scene.replica(identity, {
      port,
      command: [binary, 'run', '--backend-only'],
      flags: [
        '--preset=fast',
        '--stop-timeout=60s',
        '--traffic=front',
        `--front-listen=${address}`,
        `--front-address=${address}`,
      ],
      env: { ...langflowEnvironment(directory, port, this.#flows), HOME: directory, TMPDIR, ...env },
    })
  }

  /** Through the front of the follower, with the user's key. */
  #drill(): Promise<Report> {
    const flags = [
      `--kubeconfig=${this.#scene.kubeconfig('operator')}`,
      `--service=http://127.0.0.1:${this.#front}`,
      '--rto=2m',
      '--yes',
      '--output=json',
    ]
    const env = { ...process.env, LEADER_API_KEY: API_KEY }
    return new Promise((resolve, reject) =>
      execFile(process.execPath, [BUNDLE, 'drill', ...flags], { env }, (_, stdout, stderr) => {
        if (stdout.startsWith('{')) resolve(JSON.parse(stdout))
        else reject(new Error(`the drill has no report: ${stderr}`))
      }),
    )
  }
}

/** The drill's samples are gone from LangFlow, of the database and of the storage. */
async function assertNothingLeft({ user }: Succession): Promise<void> {
  for (const path of ['/api/v1/variables/', '/api/v2/files/'])
    for (const { name } of await user.list(path)) assert.doesNotMatch(name, /^langflow-leader-drill-/)
}

async function postgresDatabase(t: TestContext): Promise<NodeJS.ProcessEnv> {
  const postgres = await startPostgres()
  t.after(() => postgres.close())
  return { LANGFLOW_DATABASE_URL: await postgres.newDatabase() }
}

test('state with PostgreSQL', { skip: noLangflow || noS3 }, async (t) => {
  const database = await postgresDatabase(t)
  const replicas = new Succession(await EmbeddedScene.open(t))
  const [own, shared] = [replicas.directory('own'), replicas.directory('shared')]

  await replicas.next(own, database)
  const first = await LangflowItems.make(replicas.user, 'first')
  assert.deepEqual(await first.missing(replicas.user), [])

  await t.test(
    'local storage: uploads and vectors are lost, and the drill reports a lost upload',
    async () => {
      const report = await replicas.drilled(shared, database)
      assert.deepEqual(report.state, { variable: 'kept', upload: 'lost' })
      assert.match(report.problem ?? '', /an acknowledged upload is missing: see .*docs\/guide\/state\.md/)
      await assertNothingLeft(replicas)
      assert.deepEqual(await first.missing(replicas.user), [...UPLOADS, ...VECTORS, ...IN_MEMORY])
      // LangFlow lists what it lost.
      const [upload] = await replicas.user.list('/api/v2/files/')
      assert.equal(await replicas.user.status(`/api/v2/files/${upload?.id}`), 404)
      assert.equal(await replicas.user.status('/api/v1/knowledge_bases/first/chunks'), 500)
    },
  )

  const second = await LangflowItems.make(replicas.user, 'second')
  await t.test('one directory (RWX): all but the memory is kept', async () => {
    const report = await replicas.drilled(shared, database)
    assert.deepEqual(report.state, { variable: 'kept', upload: 'kept' })
    await assertNothingLeft(replicas)
    assert.deepEqual(await second.missing(replicas.user), IN_MEMORY)
  })

  const s3 = await S3.start()
  t.after(() => s3.close())
  const s3Env = { ...database, ...s3.environment }
  await t.test('from files to S3: LangFlow has the uploads after they were copied', async () => {
    await replicas.next(shared, s3Env)
    assert.deepEqual(await second.missing(replicas.user), [...UPLOADS, ...IN_MEMORY])
    for (const file of globSync('*-*-*-*-*/*', { cwd: shared }))
      await s3.put(`files/${file}`, readFileSync(join(shared, file)))
    assert.deepEqual(await second.missing(replicas.user), IN_MEMORY)
  })

  const third = await LangflowItems.make(replicas.user, 'third')
  await t.test('S3: uploads are kept, vectors are lost', async () => {
    const report = await replicas.drilled(replicas.directory('another'), s3Env)
    assert.deepEqual(report.state, { variable: 'kept', upload: 'kept' })
    await assertNothingLeft(replicas)
    assert.deepEqual(await third.missing(replicas.user), [...VECTORS, ...IN_MEMORY])
  })
})

test('state with SQLite on one volume: all but the memory is kept', { skip: noLangflow }, async (t) => {
  const replicas = new Succession(await EmbeddedScene.open(t))
  const volume = replicas.directory('volume')
  await replicas.next(volume)
  const items = await LangflowItems.make(replicas.user, 'items')
  await replicas.next(volume)
  assert.deepEqual(await items.missing(replicas.user), IN_MEMORY)
})
