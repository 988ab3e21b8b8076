import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type LangflowScene, langflowTests, writeFlow } from '../harness/langflow.ts'
import { type ItemName, LangflowItems, LangflowUser } from '../harness/langflow-items.ts'
import { QUICK, type Replica } from '../harness/replica.ts'

// Each step is a row of the table in docs/guide/state.md, or several.

/** In the memory of one LangFlow: no takeover keeps it. */
const IN_MEMORY: readonly ItemName[] = ['background run under way']
const UPLOADS: readonly ItemName[] = ['upload']
const VECTORS: readonly ItemName[] = ['knowledge base vectors']

/** Replicas that lead one after the other, each with its own storage. */
class Succession {
  readonly #scene: LangflowScene
  #leader: Replica | undefined
  #count = 0
  user!: LangflowUser

  constructor(scene: LangflowScene) {
    this.#scene = scene
    writeFlow(scene.binary, scene.flows, 'hold')
  }

  /** The directory of one or several replicas: LANGFLOW_CONFIG_DIR and HOME, as in deploy/langflow.yaml. */
  directory(name: string): string {
    const directory = join(this.#scene.dir, `data-${name}`)
    mkdirSync(directory, { recursive: true })
    return directory
  }

  /** Starts a replica, and ends the leader. */
  async next(directory: string, env: NodeJS.ProcessEnv = {}): Promise<void> {
    const files = { LANGFLOW_CONFIG_DIR: directory, HOME: directory }
    const LANGFLOW_DATABASE_URL = `sqlite:///${directory}/langflow.db`
    const replica = await this.#scene.replica(`langflow-${this.#count++}`, {
      flags: QUICK,
      env: { ...files, LANGFLOW_DATABASE_URL, ...env },
    })
    await this.#leader?.stop()
    await this.#scene.serves(replica)
    this.#leader = replica
    this.user = new LangflowUser(`http://127.0.0.1:${replica.port}`)
  }
}

const langflowTest = await langflowTests()

langflowTest('state with PostgreSQL', async ({ scene, postgres }, t) => {
  const database = { LANGFLOW_DATABASE_URL: await postgres.newDatabase() }
  const replicas = new Succession(scene)
  const shared = replicas.directory('shared')
  await replicas.next(replicas.directory('own'), database)
  const first = await LangflowItems.make(replicas.user, 'first')
  assert.deepEqual(await first.missing(replicas.user), [])

  await t.test('local storage: uploads and vectors are lost', async () => {
    await replicas.next(shared, database)
    assert.deepEqual(await first.missing(replicas.user), [...UPLOADS, ...VECTORS, ...IN_MEMORY])
    // LangFlow lists what it lost.
    const [upload] = await replicas.user.list('/api/v2/files/')
    assert.equal(await replicas.user.status(`/api/v2/files/${upload?.id}`), 404)
    assert.equal(await replicas.user.status('/api/v1/knowledge_bases/first/chunks'), 500)
  })

  const second = await LangflowItems.make(replicas.user, 'second')
  await t.test('one directory (RWX): all but the memory is kept', async () => {
    await replicas.next(shared, database)
    assert.deepEqual(await second.missing(replicas.user), IN_MEMORY)
  })
})

langflowTest('state with SQLite on one volume: all but the memory is kept', async ({ scene }) => {
  const replicas = new Succession(scene)
  const volume = replicas.directory('volume')
  await replicas.next(volume)
  const items = await LangflowItems.make(replicas.user, 'items')
  await replicas.next(volume)
  assert.deepEqual(await items.missing(replicas.user), IN_MEMORY)
})
