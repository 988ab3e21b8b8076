import assert from 'node:assert/strict'
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { encodeHistory, HISTORY } from '../../agent/lease/lease-history.ts'
import {
  PAUSE_REASON,
  PAUSED,
  REQUEST_REASON,
  SWITCHOVER_TO,
} from '../../agent/lease/operator-annotations.ts'
import { runBundle } from '../harness/bundle.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { kubeconfig, reply, ScriptedServer } from '../kube/scripted-server.ts'
import { FOLLOWING, SERVING, TERM } from '../observe/replica.ts'

/** Control sequences of a terminal in 7 and 8 bits, a forged line, and characters that reorder a line or break it. */
const EVIL = 'evil\u001b[31m\r\nFORGED\u202e\u009b31m\u0007\u2028\u2066x'
const RAW = /[^\n\P{Cc}]|[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u

const dir = temporaryDirectory()
type Notes = Readonly<Record<string, string>>

/** What an API server answers that does not refuse any character. `notes`: the annotations of the Lease. */
function answer(path: string, notes: Notes, isSick: boolean): [status: number, body: object] {
  const metadata = (name: string) => ({ name, namespace: 'team', uid: 'u', resourceVersion: '1' })
  if (path.endsWith('/proxy/status')) {
    const [base, identity] = path.includes('pods/a:') ? [SERVING, 'a_uid'] : [FOLLOWING, EVIL]
    const lease = { ...base.lease, name: 'lock', holder: 'a_uid' }
    const problem = isSick ? EVIL : null
    return [200, { ...base, identity, lease, problem, decision: EVIL, revision: EVIL }]
  }
  const agent = { name: 'agent', args: ['agent', EVIL], env: [{ name: 'LEADER_LEASE_NAME', value: 'lock' }] }
  const pod = (name: string) => ({ metadata: metadata(name), spec: { nodeName: EVIL, containers: [agent] } })
  if (path.endsWith('/pods')) return [200, { metadata: {}, items: [pod('a'), pod(`b${EVIL}`)] }]
  if (path.endsWith('/leases/lock')) {
    const spec = { holderIdentity: 'a_uid', leaseTransitions: 7, leaseDurationSeconds: 15 }
    const history = encodeHistory([{ ...TERM, holder: EVIL }])
    return [200, { metadata: { ...metadata('lock'), annotations: { [HISTORY]: history, ...notes } }, spec }]
  }
  if (path.endsWith('/deployments'))
    return [200, { metadata: {}, items: [{ ...JSON.parse(MANIFEST), metadata: metadata(`app${EVIL}`) }] }]
  if (path === '/health') return [200, {}]
  return [500, { kind: 'Status', message: EVIL }]
}

const CONTAINER = { name: `langflow${EVIL}`, image: 'langflow', command: ['langflow', 'run'] }
const MANIFEST = JSON.stringify({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: `app${EVIL}`, annotations: { [`key${EVIL}`]: EVIL } },
  spec: { replicas: 2, template: { spec: { containers: [CONTAINER, { name: EVIL, image: 'other' }] } } },
})

function file(name: string, content: string): string {
  writeFileSync(join(dir, name), content)
  return join(dir, name)
}

const kubeconfigFor = (url: string) => kubeconfig(url, {}, {}, { namespace: 'team' })

file('evil-config', JSON.stringify({ ...kubeconfigFor('http://127.0.0.1:1'), 'current-context': EVIL }))
file('app.yaml', MANIFEST)
file(
  'named.yaml',
  JSON.stringify({
    ...JSON.parse(MANIFEST),
    metadata: { name: 'app', annotations: { [`key${EVIL}`]: EVIL } },
  }),
)
file('twins.yaml', MANIFEST.replaceAll('"other"', '"langflow"'))
file('wrong.yaml', `"a": ${JSON.stringify(EVIL)}\n---\n${JSON.stringify(EVIL)}`)

async function run(line: string, notes: Notes = {}, isSick = false) {
  await using server = await ScriptedServer.start(({ url }, response) =>
    reply(response, ...answer(url.pathname, notes, isSick)),
  )
  const { url, port } = server
  const words = line
    .replaceAll('EVIL', EVIL)
    .replace('URL', url)
    .split(' ')
    .map((word) => word.replace(/^\w+(-config|\.yaml)$/, join(dir, '$&')))
  const env = { KUBECONFIG: file(`config-${port}`, JSON.stringify(kubeconfigFor(url))) }
  const { stdout, stderr } = await runBundle(words, env)
  return { stdout, stderr, all: stdout + stderr }
}

const PAUSE = { [PAUSED]: 'true', [PAUSE_REASON]: EVIL }
const ASKED = { [SWITCHOVER_TO]: 'a', [REQUEST_REASON]: EVIL }

/** Each command prints the text, or part of it, from another source. */
const ROWS: [line: string, notes?: Notes, isSick?: boolean][] = [
  ['status', PAUSE],
  ['status -o wide', { [PAUSED]: EVIL }, true],
  ['status -o json', PAUSE, true],
  ['status -o yaml', PAUSE, true],
  ['status --context EVIL'],
  ['status --kubeconfig evil-config'],
  ['status -n EVIL --lease-name other'],
  ['history'],
  ['history -o json'],
  ['history -o yaml'],
  ['switchover --yes', PAUSE],
  ['switchover --to EVIL --yes'],
  ['switchover --to bEVIL --yes --timeout 1s -o yaml'],
  ['failover --to bEVIL --yes --timeout 1s'],
  ['failover --yes -o json', PAUSE],
  ['restart --yes', PAUSE],
  ['pause --for 1m', PAUSE],
  ['resume', PAUSE],
  ['check'],
  ['check -o json'],
  ['check -f app.yaml -o yaml'],
  ['check -f wrong.yaml'],
  ['check -f EVIL'],
  ['check -f app.yaml -n team'],
  ['inject -f named.yaml'],
  ['inject -f twins.yaml'],
  ['inject -f wrong.yaml'],
  ['drill --service URL --yes', PAUSE],
  ['report --file -', { ...PAUSE, ...ASKED }, true],
  ['report --file EVIL/x'],
]

describe('a text of others reaches no terminal with control characters, and makes no line', {
  concurrency: 2,
}, () => {
  for (const [line, notes, isSick] of ROWS)
    test(line, async () => {
      const { stdout, stderr, all } = await run(line, notes, isSick)
      assert.doesNotMatch(all, RAW)
      assert.doesNotMatch(all, /^FORGED/m)
      assert.match(all, /FORGED/, 'the command does not print the text')
      assert.doesNotMatch(stderr, /unexpected error/)
      if (line.includes('json')) JSON.parse(stdout)
      if (/yaml$|^inject/.test(line))
        for (const document of parseAllDocuments(stdout)) assert.deepEqual(document.errors, [])
    })

  test('and the output for programs has each of its characters', async () => {
    const { pause } = JSON.parse((await run('status -o json', PAUSE)).stdout)
    assert.equal(pause.reason, EVIL)
    const injected = parseAllDocuments((await run('inject -f named.yaml')).stdout).map((one) => one.toJS())
    const { annotations } = injected.find(({ kind }) => kind === 'Deployment').metadata
    assert.deepEqual(annotations, { [`key${EVIL}`]: EVIL })
  })
})

test('only the file with the escape writes to the streams of a command', () => {
  const writing = globSync('agent/cli/**/*.ts').filter((path) =>
    /process\.(stdout|stderr)|console\.|\bprint\b.* from '[./]+exit\.ts'/.test(readFileSync(path, 'utf8')),
  )
  // The shell reads the names of commands and flags.
  assert.deepEqual(writing.sort(), ['agent/cli/output.ts'])
})
