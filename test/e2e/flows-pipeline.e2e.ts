import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { delimiter, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { TestContext } from 'node:test'
import { DEPLOY } from '../deploy/manifests.ts'
import { freePort } from '../harness/free-port.ts'
import { API_KEY, type LangflowScene, langflowTests } from '../harness/langflow.ts'
import { LEASE } from '../harness/scene.ts'

const SCRIPT_WITHIN_MS = 120_000
const FLOWS = ['one', 'two', 'three', 'four']

const langflowTest = langflowTests()

/** A replica with a front. */
async function replicaWithFront(scene: LangflowScene, identity: string, more: Record<string, string> = {}) {
  const front = await freePort()
  const address = `127.0.0.1:${front}`
  const flags = ['--traffic=front', `--front-listen=${address}`, `--front-address=${address}`]
  const replica = await scene.replica(identity, {
    flags: [...flags, '--standby=warm'],
    env: more,
  })
  return Object.assign(replica, { front })
}

/** What happens to a request: it is answered, or its answer is lost. */
type Fate = 'answered' | 'lost'

/** A Service before the fronts: requests go to each front in turn. `decide` is called before each push of a flow. */
class Service {
  readonly pushes: string[] = []
  url = ''
  decide: (push: number) => Promise<Fate> = async () => 'answered'
  private readonly fronts: readonly number[]
  private turn = 0

  static async open(t: TestContext, fronts: readonly number[]): Promise<Service> {
    const service = new Service(fronts)
    const server = createServer((asked, answer) => void service.forward(asked, answer))
    await once(server.listen(0, '127.0.0.1'), 'listening')
    t.after(() => {
      server.closeAllConnections()
      server.close()
    })
    service.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    return service
  }

  private constructor(fronts: readonly number[]) {
    this.fronts = fronts
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
    void pipeline(asked, forwarded)
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
}

langflowTest(
  'push.sh brings each flow to production while leadership moves and an answer is lost, and none that fails its smoke test',
  async ({ scene, postgres, another }, t) => {
    const LANGFLOW_DATABASE_URL = await postgres.newDatabase()
    const stagingScene = await another()
    const [a, staging] = await Promise.all([
      replicaWithFront(scene, 'a', { LANGFLOW_DATABASE_URL }),
      replicaWithFront(stagingScene, 'staging'),
    ])
    await Promise.all([scene.serves(a), stagingScene.serves(staging)])
    const b = await replicaWithFront(scene, 'b', { LANGFLOW_DATABASE_URL })
    const tested = await Service.open(t, [staging.front])
    const production = await Service.open(t, [a.front, b.front])
    const repository = new Repository(scene, {
      'https://langflow-staging.example.com': tested.url,
      'https://langflow.example.com': production.url,
    })
    for (const name of [...FLOWS, 'mute']) await repository.create(name)

    // A flow without an output is valid, but it never answers.
    const mute = join(repository.directory, 'flows/mute.json')
    const flow = JSON.parse(readFileSync(mute, 'utf8'))
    const nodes = flow.data.nodes.filter((node: { data: { type: string } }) => node.data.type === 'TextInput')
    writeFileSync(mute, JSON.stringify({ ...flow, data: { ...flow.data, nodes, edges: [] } }))
    const refused = await repository.run('./push.sh')
    assert.notEqual(refused.code, 0)
    assert.match(refused.output, /FAILED tests\/test_flows\.py::test_flow_answers\[mute\]/)
    assert.deepEqual([tested.pushes.length, production.pushes.length], [FLOWS.length + 1, 0])

    await repository.succeed('rm', mute)
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
    assert.match(await repository.succeed('lfx', 'status', '--env', 'production'), /4 synced/)
  },
)
