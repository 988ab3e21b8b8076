import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parse, stringify } from 'yaml'
import { createLog } from '../../agent/observe/log.ts'
import { Guard, ServerProcess } from '../harness/server-process.ts'
import { until } from '../harness/wait.ts'
import { DEPLOY } from './manifests.ts'

const FLUENT_BIT = process.env.FLUENT_BIT ?? 'fluent-bit'
const MISSING =
  spawnSync(FLUENT_BIT, ['--version']).status !== 0 && 'no Fluent Bit: set FLUENT_BIT to its path'

const [AGENT, LANGFLOW] = ['agent', 'langflow'].map(
  (name) => `langflow-0_langflow_${name}-${'0123456789abcdef'.repeat(4)}.log`,
)
/** A line of LangFlow with LANGFLOW_LOG_ENV=container. */
const LANGFLOW_LINE =
  '{"event": "Login successful", "level": "info", "timestamp": "2026-01-02T03:00:00.000001Z"}'

test('the Fluent Bit example keeps the fields of agent, launcher and front, and leaves the lines of LangFlow as they are', {
  skip: MISSING,
}, async (t) => {
  const documents = await collect(t, (write) => {
    const agent = logOf('agent', (line) => write(AGENT!, line))
    agent.event('acquired', { epoch: 41, code: 'expired', reason: 'the Lease had expired' })
    write(LANGFLOW!, LANGFLOW_LINE)
    write(LANGFLOW!, 'Traceback (most recent call last):')
    logOf('launcher', (line) => write(LANGFLOW!, line)).event('workload_started', { epoch: 41 })
  })
  const byTime = documents.toSorted((a, b) => String(a['@timestamp']).localeCompare(String(b['@timestamp'])))
  const facts = byTime.map(({ kubernetes, leader, log }) => [
    kubernetes.namespace_name,
    kubernetes.pod_name,
    kubernetes.container_name,
    leader && [leader.component, leader.identity, leader.event, leader.epoch, leader.code],
    log,
  ])
  const pod = ['langflow', 'langflow-0']
  assert.deepEqual(facts, [
    [...pod, 'agent', ['agent', 'langflow-0_uid', 'acquired', 41, 'expired'], undefined],
    [...pod, 'langflow', undefined, LANGFLOW_LINE],
    [...pod, 'langflow', undefined, 'Traceback (most recent call last):'],
    [...pod, 'langflow', ['launcher', 'langflow-0_uid', 'workload_started', 41, undefined], undefined],
  ])
})

interface Document {
  readonly '@timestamp': string
  readonly kubernetes: Readonly<Record<string, string>>
  readonly leader?: Readonly<Record<string, unknown>>
  readonly log?: string
}

function logOf(component: 'agent' | 'launcher', write: (line: string) => void) {
  const stream = { write: (text: string) => write(text.trimEnd()) }
  return createLog({ identity: 'langflow-0_uid', level: 'info', component, stream })
}

/** Runs the example on a node's log files, and returns the four documents that Elasticsearch gets. */
async function collect(
  t: TestContext,
  lines: (write: (file: string, line: string) => void) => void,
): Promise<Document[]> {
  const directory = mkdtempSync(join(tmpdir(), 'fluent-bit-'))
  const documents: Document[] = []
  // In place of Elasticsearch and of the API server.
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk) => chunks.push(chunk))
    request.on('end', () => {
      const [, pod] = /^\/api\/v1\/namespaces\/langflow\/pods\/(.+)$/.exec(request.url!) ?? []
      if (pod !== undefined) return void response.end(podNamed(pod))
      const rows = Buffer.concat(chunks).toString().trimEnd().split('\n')
      documents.push(...rows.filter((_, index) => index % 2 === 1).map((row) => JSON.parse(row) as Document))
      response.end(JSON.stringify({ took: 1, errors: false, items: [] }))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  let seconds = 10
  lines((file, line) => {
    seconds += 1
    appendFileSync(join(directory, file), `2026-01-02T03:00:${seconds}.000000000Z stdout F ${line}\n`)
  })

  const config = parse(readFileSync(join(DEPLOY, 'examples/logs-elasticsearch/fluent-bit.yaml'), 'utf8'))
  const {
    inputs: [tail],
    filters,
    outputs: [es],
  } = config.pipeline
  tail.path = tail.path.replaceAll('/var/log/containers', directory)
  tail.db = join(directory, 'positions.db')
  writeFileSync(join(directory, 'token'), 'a-token')
  for (const filter of filters) {
    if (filter.name !== 'kubernetes') continue
    filter.kube_tag_prefix = filter.kube_tag_prefix.replace(
      'var.log.containers',
      directory.slice(1).replaceAll('/', '.'),
    )
    filter.kube_url = `http://127.0.0.1:${port}`
    filter.kube_token_file = join(directory, 'token')
  }
  Object.assign(es, { host: '127.0.0.1', port, tls: false })
  const file = join(directory, 'fluent-bit.yaml')
  writeFileSync(file, stringify(config))
  const log = join(directory, 'output')
  const program = new ServerProcess(FLUENT_BIT, ['--config', file], log)
  const guard = new Guard(directory)
  guard.watch([program])
  t.after(async () => {
    await program.stop()
    await guard.close()
    server.close()
  })
  await until('four documents', () => documents.length >= 4).catch((error) => {
    throw new Error(
      `${error.message}: ${JSON.stringify(documents)}\n${readFileSync(log, 'utf8').slice(-3000)}`,
    )
  })
  return documents
}

function podNamed(name: string): string {
  const metadata = { name, namespace: 'langflow', uid: 'uid' }
  return JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec: { nodeName: 'node' } })
}
