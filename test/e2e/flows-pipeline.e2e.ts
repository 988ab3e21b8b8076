import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { delimiter, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { DEPLOY } from '../deploy/manifests.ts'
import { API_KEY, type LangflowScene, langflowTests } from '../harness/langflow.ts'
import { listening } from '../harness/listening.ts'
import { LEASE } from '../harness/scene.ts'

const SCRIPT_WITHIN_MS = 240_000
const FLOWS = ['one', 'two', 'three']
/** The digest of a set of flows, as `langflow-leader status -o wide` shows it. */
const DIGEST = 'cd flows && sha256sum -- *.json | sha256sum | cut -c1-12'

const langflowTest = await langflowTests()

/** What happens to a request: it is answered, or its answer is lost. */
type Fate = 'answered' | 'lost'

/** A Service before the fronts: requests go to each front in turn. `decide` is called before each push of a flow. */
class Service {
  readonly pushes: string[] = []
  url = ''
  decide: (push: number) => Promise<Fate> = async () => 'answered'
  readonly fronts: number[]
  private turn = 0

  static async open(t: TestContext, fronts: readonly number[]): Promise<Service> {
    const service = new Service(fronts)
    const server = createServer((asked, answer) => {
      // The client sees a front's broken connection.
      service.forward(asked, answer).catch(() => answer.destroy())
    })
    service.url = `http://127.0.0.1:${await listening(t, server)}`
    return service
  }

  private constructor(fronts: readonly number[]) {
    this.fronts = [...fronts]
  }

  private async forward(asked: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { method, url: path = '', headers } = asked
    let fate: Fate = 'answered'
    if (method === 'PUT') {
      this.pushes.push(path)
      fate = await this.decide(this.pushes.length)
    }
    const port = this.fronts[this.turn++ % this.fronts.length]
    const forwarded = request({ host: '127.0.0.1', port, method, path, headers })
    // If it fails, no response comes either.
    pipeline(asked, forwarded).catch(() => {})
    const [answered] = (await once(forwarded, 'response')) as [IncomingMessage]
    if (fate === 'lost') {
      answered.resume()
      await once(answered, 'end')
      answer.destroy()
      return
    }
    answer.writeHead(answered.statusCode ?? 0, answered.headers)
    await pipeline(answered, answer)
  }
}

/** A working copy of deploy/examples/flows-pipeline, with flows as `lfx create` makes them. */
class Repository {
  readonly directory: string
  private readonly env: NodeJS.ProcessEnv

  constructor(scene: LangflowScene, addresses: Readonly<Record<string, string>>) {
    this.directory = scene.path('repository')
    cpSync(join(DEPLOY, 'examples/flows-pipeline'), this.directory, { recursive: true })
    const file = join(this.directory, 'langflow-environments.toml')
    const text = Object.entries(addresses).reduce(
      (text, [shipped, here]) => text.replace(`"${shipped}"`, `"${here}"`),
      readFileSync(file, 'utf8'),
    )
    writeFileSync(file, text)
    this.env = {
      ...process.env,
      PATH: [dirname(scene.binary), process.env.PATH].join(delimiter),
      HOME: scene.dir,
      DO_NOT_TRACK: 'true',
      // Left over from another command, such as one of docs/guide/secrets.md. No LangFlow answers there.
      LANGFLOW_URL: 'http://127.0.0.1:1',
      LANGFLOW_STAGING_API_KEY: API_KEY,
      LANGFLOW_PRODUCTION_API_KEY: API_KEY,
    }
  }

  /** Runs a program in the repository. Resolves to its exit code and its output. */
  run(program: string, ...args: string[]): Promise<{ code: number; output: string }> {
    const options = { cwd: this.directory, env: this.env, timeout: SCRIPT_WITHIN_MS }
    return new Promise((resolve) => {
      execFile(program, args, options, (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), output: `${stdout}\n${stderr}` })
      })
    })
  }

  /** Runs a program that must exit with 0. */
  async succeed(program: string, ...args: string[]): Promise<string> {
    const { code, output } = await this.run(program, ...args)
    assert.equal(code, 0, `${program} ${args.join(' ')}: ${output}`)
    return output
  }

  async create(name: string): Promise<void> {
    await this.succeed('lfx', 'create', name, '--output-dir', 'flows')
  }

  flow(name: string): { id: string; data: { nodes: { data: { type: string } }[] } } {
    return JSON.parse(readFileSync(join(this.directory, `flows/${name}.json`), 'utf8'))
  }

  git(...args: string[]): Promise<string> {
    return this.succeed('git', '-c', 'user.name=Test', '-c', 'user.email=test@example.com', ...args)
  }

  /** Commits everything on the branch `main`, and pushes it. Resolves to the commit. */
  async commit(message: string): Promise<string> {
    await this.git('add', '--all')
    await this.git('commit', '--quiet', '--message', message)
    await this.git('push', '--quiet', 'origin', 'HEAD:refs/heads/main')
    return (await this.git('rev-parse', 'HEAD')).trim()
  }
}

langflowTest(
  'push.sh brings each flow to production while leadership moves and an answer is lost, and none that fails its smoke test',
  async ({ scene, postgres, another }, t) => {
    const LANGFLOW_DATABASE_URL = await postgres.newDatabase()
    const stagingScene = await another()
    const warm = { flags: ['--standby=warm'], env: { LANGFLOW_DATABASE_URL } }
    const [a, staging] = await Promise.all([scene.withFront('a', warm), stagingScene.withFront('staging')])
    await Promise.all([scene.serves(a), stagingScene.serves(staging)])
    const b = await scene.withFront('b', warm)
    const tested = await Service.open(t, [staging.front])
    const production = await Service.open(t, [a.front, b.front])
    const repository = new Repository(scene, {
      'https://langflow-staging.example.com': tested.url,
      'https://langflow.example.com': production.url,
    })
    for (const name of [...FLOWS, 'mute']) await repository.create(name)

    // A flow without an output is valid, but it never answers.
    const mute = join(repository.directory, 'flows/mute.json')
    const flow = repository.flow('mute')
    const nodes = flow.data.nodes.filter(({ data }) => data.type === 'TextInput')
    writeFileSync(mute, JSON.stringify({ ...flow, data: { ...flow.data, nodes, edges: [] } }))
    const refused = await repository.run('./push.sh')
    assert.notEqual(refused.code, 0)
    assert.match(refused.output, /FAILED tests\/test_flows\.py::test_flow_answers\[mute\] - assert/i)
    assert.match(refused.output, /push\.sh has failed: production is unchanged/)
    assert.deepEqual([tested.pushes.length, production.pushes.length], [FLOWS.length + 1, 0])

    rmSync(mute)
    await scene.standsBy(b)
    production.decide = async (push) => {
      if (push === 2) {
        await scene.kubectl('annotate', 'lease', LEASE, 'langflow-leader/switchover-to=*')
        await a.event('draining')
      }
      return push === 3 ? 'lost' : 'answered'
    }
    const output = await repository.succeed('./push.sh')
    assert.match(output, /push 1 to production failed, trying again/)
    t.diagnostic(`pushes: ${production.pushes.length}`)
    assert.equal(new Set(production.pushes).size, FLOWS.length)
    assert.deepEqual([(await b.status()).role, (await b.status()).lease.epoch], ['leader', 2])
    assert.match(await repository.succeed('lfx', 'status', '--env', 'production'), /3 synced/)
  },
)

langflowTest(
  'release.sh tests the flows of a commit on staging, and tags it for production',
  async ({ scene, postgres }, t) => {
    const staging = await Service.open(t, [])
    const repository = new Repository(scene, { 'https://langflow-staging.example.com': staging.url })
    const repo = `file://${scene.path('flows.git')}`
    await repository.succeed('git', 'init', '--quiet', '--bare', fileURLToPath(repo))
    await repository.git('init', '--quiet')
    await repository.git('remote', 'add', 'origin', repo)
    await repository.create('greeting')
    const commit = await repository.commit('A greeting')

    const LANGFLOW_LOAD_FLOWS_PATH = join(repository.directory, 'flows')
    const env = { LANGFLOW_DATABASE_URL: await postgres.newDatabase(), LANGFLOW_LOAD_FLOWS_PATH }
    const a = await scene.withFront('a', { env })
    await scene.serves(a)
    staging.fronts.push(a.front)
    const digest = await repository.succeed('sh', '-c', DIGEST)
    assert.equal((await a.status()).flowsDigest, digest.trim())
    await repository.succeed('./release.sh')
    const tags = await repository.git('ls-remote', '--tags', 'origin')
    assert.match(tags, new RegExp(`^${commit}\trefs/tags/production$`, 'm'))
    assert.match(tags, new RegExp(`^${commit}\trefs/tags/release-\\d{8}-\\d{6}$`, 'm'))
  },
)
