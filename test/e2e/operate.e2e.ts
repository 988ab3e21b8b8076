import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import { encodeHistory } from '../../agent/lease/lease-history.ts'
import { LEAST } from '../deploy/chart-cases.ts'
import { rendered } from '../deploy/helm.ts'
import { only } from '../deploy/manifests.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { ACCOUNT, type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { freePort } from '../harness/free-port.ts'
import { ApiServerScene } from '../harness/scene.ts'
import { TERM } from '../observe/replica.ts'

const LEASE = 'langflow-leader-lock'
const ROLE = 'langflow-leader-operator'

/** A Pod object that no kubelet runs. */
function pod(name: string, agent: object | null) {
  const initContainers = agent === null ? [] : [{ name: 'agent', image: 'x', args: ['agent'], ...agent }]
  const containers = [{ name: 'langflow', image: 'x' }]
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { initContainers, containers } }
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function run(...args: string[]): Promise<Ended> {
  return runIn({}, ...args)
}

/** Runs a command with these variables as well. */
function runIn(variables: NodeJS.ProcessEnv, ...args: string[]): Promise<Ended> {
  const env = { ...process.env, ...variables }
  return new Promise((resolve) =>
    execFile(process.execPath, [BUNDLE, ...args], { env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    ),
  )
}

/** The code and the message of the error of a command with `-o json`. */
function errorOf({ code, stdout }: Ended): [exitCode: number, code: string, message: string] {
  const { error } = JSON.parse(stdout)
  return [code, error.code, error.message]
}

/*
 * These tests need a real API server for its decisions: rights, pages of a list, the pod proxy's refusals. It doesn't proxy to
 * loopback addresses, so other tests cover answers through the proxy, on the embedded API server and on a real cluster.
 */
describe('an operator on a real API server', () => {
  let plane: ControlPlane
  before(async () => {
    plane = await startControlPlane()
  })
  after(() => plane?.close())

  /** Creates a held Lease, two replicas, which the API server lists after `others` pods, and an operator with the Role of the chart. */
  async function operator(name = LEASE, others = 0) {
    const namespace = await plane.newNamespace()
    const kubectl = (...args: string[]) => plane.kubectl(['-n', namespace, ...args])
    const spec = { holderIdentity: 'a_1', leaseTransitions: 6, leaseDurationSeconds: 15 }
    const annotations = { 'langflow-leader/history': encodeHistory([TERM]), theirs: 'kept' }
    const metadata = { name, annotations }
    const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec }
    const agent = { env: [{ name: 'LEADER_LEASE_NAME', value: name }] }
    const before = Array.from({ length: others }, (_, i) => pod(`a-${i}`, null))
    const items = [lease, ...before, pod('langflow-0', agent), pod('langflow-1', agent)]
    const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
    await plane.kubectl(['-n', namespace, 'create', '-f', '-'], list)
    const status = { phase: 'Running', podIP: '127.0.0.1', podIPs: [{ ip: '127.0.0.1' }] }
    const running = ['--subresource=status', '--type=merge', '-p', JSON.stringify({ status })]
    await kubectl('patch', 'pod', 'langflow-0', ...running)
    const { manifests } = await rendered({ ...LEAST, operatorRole: true })
    await plane.kubectl(['-n', namespace, 'apply', '-f', '-'], JSON.stringify(only(manifests, 'Role', ROLE)))
    await kubectl('create', 'serviceaccount', 'me')
    await kubectl('create', 'rolebinding', 'me', `--role=${ROLE}`, `--serviceaccount=${namespace}:me`)
    const kubeconfig = await plane.serviceAccountKubeconfig(namespace, 'me')
    return {
      kubeconfig,
      run: (...args: string[]) => run(...args, `--kubeconfig=${kubeconfig}`),
      editRole: (...edits: object[]) =>
        kubectl('patch', 'role', ROLE, '--type=json', '-p', JSON.stringify(edits)),
      operations: async () => {
        const { stdout } = await kubectl('get', 'lease', name, '--output=json')
        const {
          theirs,
          'langflow-leader/history': _,
          ...rest
        } = (JSON.parse(stdout) as Lease).metadata.annotations ?? {}
        assert.equal(theirs, 'kept')
        return Object.keys(rest).sort()
      },
    }
  }

  test('sees every replica with the Role of the chart, and why one does not answer', async () => {
    // The two replicas are on the second page of the list.
    const { run } = await operator(LEASE, 120)
    const { code, stdout } = await run('status', '-o', 'json')
    const { lease, ok, replicas, problems } = JSON.parse(stdout)
    assert.deepEqual([code, ok, lease.holder, lease.epoch], [1, false, 'a_1', 6])
    assert.match(problems[0], /^no replica serves: a holds the Lease/)
    const [first, second, ...more] = replicas as { pod: string; problem: string }[]
    assert.deepEqual([first?.pod, second?.pod, more], ['langflow-0', 'langflow-1', []])
    assert.match(first?.problem ?? '', /answered 400 .*address not allowed/)
    assert.match(second?.problem ?? '', /the pod is Pending/)
  })

  test('pauses and resumes with the Role of the chart, and changes nothing else on the Lease', async () => {
    const { run, operations } = await operator()
    const paused = await run('pause', '--for=1h', '--reason=upgrade')
    // The annotations are written, but no replica runs that could confirm the pause.
    assert.equal(paused.code, 1, paused.stderr)
    assert.deepEqual(await operations(), [
      'langflow-leader/pause-reason',
      'langflow-leader/paused',
      'langflow-leader/paused-until',
    ])
    const resumed = await run('resume')
    assert.deepEqual([resumed.code, await operations()], [0, []], resumed.stderr)
  })

  test('a dry run changes nothing, and shows whether the API server would refuse the write', async () => {
    const { run, editRole, operations } = await operator()
    const tried = await run('pause', '--for=1h', '--dry-run=server')
    assert.equal(tried.code, 0, tried.stderr)
    assert.match(tried.stdout, /^would pause until \S+ \(server dry run\)\n$/)
    assert.deepEqual(errorOf(await run('switchover', '--dry-run', '-o', 'json')).slice(0, 2), [
      3,
      'leader_silent',
    ])
    await editRole({ op: 'replace', path: '/rules/0/verbs', value: ['get'] })
    const [code, name, message] = errorOf(await run('pause', '--dry-run', '-o', 'json'))
    assert.deepEqual([code, name], [4, 'no_rights'])
    assert.match(message, /may not "patch" leases/)
    assert.deepEqual(await operations(), [])
  })

  test('gets the name of a missing right in the error, and nothing is written', async () => {
    const { run, editRole, operations } = await operator()
    const refused = async (...command: string[]) => {
      const { code, stdout } = await run(...command, '-o', 'json')
      const { error } = JSON.parse(stdout)
      assert.deepEqual([code, error.code], [4, 'no_rights'])
      return error.message as string
    }
    await editRole({ op: 'replace', path: '/rules/0/verbs', value: ['get'] })
    assert.match(await refused('pause'), /may not "patch" leases\.coordination\.k8s\.io/)
    assert.deepEqual(await operations(), [])
    await editRole({ op: 'remove', path: '/rules/2' })
    assert.match(await refused('status'), /"\S+\/me" may not "get" pods\/proxy "langflow-0:8090"/)
    await editRole({ op: 'remove', path: '/rules/1' })
    assert.match(await refused('status'), /"\S+\/me" may not "list" pods/)
    assert.match(await refused('status', '-A'), /may not "list" leases\S+ in all namespaces: .* ClusterRole/)
    // Without the right to list Leases or pods, the Lease has the default name.
    const { code, stdout } = await run('history', '-o', 'json')
    assert.deepEqual([code, JSON.parse(stdout)], [0, { terms: [TERM] }])
  })

  test('gets the only Lease of the namespace, or a list to choose from', async () => {
    const namespace = await plane.newNamespace()
    const kubeconfig = `--kubeconfig=${plane.adminKubeconfig}`
    const history = () => run('history', '-n', namespace, '-o', 'json', kubeconfig)
    const lease = async (name: string, annotations = {}) => {
      const metadata = { name, annotations }
      const object = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata }
      await plane.kubectl(['-n', namespace, 'create', '-f', '-'], JSON.stringify(object))
    }
    await lease('of-another-program')
    const [none, noLease, absent] = errorOf(await history())
    assert.deepEqual([none, noLease], [3, 'no_lease'])
    assert.match(absent, /^namespace "\S+" has no Lease of langflow-leader: .* -n, .* status -A$/)
    await lease('flows-leader', { 'langflow-leader/injected-for': 'Deployment/flows' })
    assert.deepEqual(JSON.parse((await history()).stdout), { terms: [] })
    await lease(LEASE)
    const [two, several, choose] = errorOf(await history())
    assert.deepEqual([two, several], [2, 'several_leases'])
    assert.match(
      choose,
      / has 2 Leases .*, flows-leader and langflow-leader-lock: choose one with --lease-name$/,
    )
    const all = await run('status', '-A', kubeconfig)
    assert.equal(all.code, 0)
    const line = new RegExp(`^${namespace} +flows-leader +- +0 +- +never$`, 'm')
    assert.match(all.stdout, line)
    assert.doesNotMatch(all.stdout, /of-another-program/)
    const words = ['switchover', kubeconfig, '-n', namespace, '--lease-name', 'l']
    assert.equal((await run('complete', '--', ...words)).stdout, 'langflow-leader-lock\n:4\n')
    const spaces = await run(
      'complete',
      '--',
      'switchover',
      kubeconfig,
      `--namespace=${namespace.slice(0, 8)}`,
    )
    assert.ok(spaces.stdout.split('\n').includes(`--namespace=${namespace}`), spaces.stdout)
  })

  test('gets the Lease and the pods that the Role of deploy/ shows', async () => {
    const { run, editRole, kubeconfig } = await operator('flows-leader')
    await editRole({ op: 'replace', path: '/rules/0/resourceNames', value: ['flows-leader'] })
    assert.deepEqual(JSON.parse((await run('history', '-o', 'json')).stdout), { terms: [TERM] })
    const words = ['switchover', `--kubeconfig=${kubeconfig}`, '--to', '']
    assert.equal((await runIn({}, 'complete', '--', ...words)).stdout, 'langflow-0\nlangflow-1\n:4\n')
  })

  test('gets one sentence and the documented exit code for a wrong place, and within the deadline', async (t) => {
    const namespace = await plane.newNamespace()
    await plane.deployRights(namespace)
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    t.after(() => silent.close())
    const dir = mkdtempSync(join(tmpdir(), 'operate-'))
    t.after(() => rmSync(dir, { recursive: true }))
    const kubeconfig = (name: string, server: string, user: object) => {
      const config = JSON.parse(readFileSync(plane.adminKubeconfig, 'utf8'))
      config.clusters[0].cluster.server = server
      config.users[0].user = user
      writeFileSync(join(dir, name), JSON.stringify(config))
      return `--kubeconfig=${join(dir, name)}`
    }
    const token = await plane.expiringToken(namespace, ACCOUNT, -10)
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', interactiveMode: 'Never' }
    const plugin = { exec: { ...exec, command: 'sleep', args: ['60'] } }
    const hangs = `https://127.0.0.1:${(silent.address() as AddressInfo).port}`
    const wrong: [what: string, flag: string, code: number, message: RegExp][] = [
      ['kubeconfig', '--kubeconfig=/none', 4, /kubeconfig \/none does not exist/],
      ['token', kubeconfig('expired', plane.serverUrl, { token }), 4, /401 Unauthorized/],
      ['server', kubeconfig('hangs', hangs, {}), 4, /no connection to the API server .* within 3500 ms/],
      [
        'namespace',
        `--kubeconfig=${plane.adminKubeconfig} --namespace=nowhere`,
        2,
        /the namespace "?nowhere"? does not exist/,
      ],
      ['plugin', kubeconfig('plugin', plane.serverUrl, plugin), 4, /no credentials within 3500 ms/],
    ]
    const commands = [
      ...['status', 'status -A', 'history', 'switchover --yes', 'failover --yes', 'restart --yes'],
      ...['pause', 'resume', 'check', 'report --file=-'],
    ]
    for (const [what, flag, code, message] of wrong)
      await Promise.all(
        commands.map(async (command) => {
          if (command === 'status -A' && what === 'namespace') return
          const ended = await run(...command.split(' '), ...flag.split(' '))
          assert.equal(ended.code, code, `${command}: ${what}: ${ended.stderr}`)
          assert.match(ended.stderr, message)
          assert.equal(ended.stderr.trim().split('\n').length, 1, ended.stderr)
        }),
      )
  })

  test('writes a report without values of others, with one sentence for each part that cannot be read', async () => {
    const { run: runAsOperator, kubeconfig } = await operator()
    const [{ namespace }] = JSON.parse(readFileSync(kubeconfig, 'utf8')).contexts.map(
      ({ context }: { context: object }) => context,
    )
    const literal = 'cAnArY-of-a-variable'
    const admin = [`--kubeconfig=${plane.adminKubeconfig}`, '-n', namespace]
    const env = [
      { name: 'LEADER_LEASE_NAME', value: LEASE },
      { name: 'OPENAI', value: literal },
    ]
    const made = JSON.stringify(pod('langflow-2', { env }))
    await plane.kubectl(['-n', namespace, 'create', '-f', '-'], made)

    const some = await runAsOperator('report', '--file=-')
    assert.equal(some.code, 1)
    assert.match(some.stderr, /: Events could not be read: \S+ "\S+" may not "list" events/)
    assert.match(some.stdout, /===== history =====[\s\S]*===== Lease =====[\s\S]*===== Pod\/langflow-2 =====/)

    const full = await run('report', '--file=-', ...admin)
    // The log of a pod without a node is empty.
    assert.deepEqual([full.code, full.stderr], [0, ''])
    for (const all of [some.stdout, some.stderr, full.stdout, full.stderr])
      assert.ok(!all.includes(literal), all)
  })

  test('gets one sentence if the reader of the output has gone', async () => {
    const script = '"$@" | true; exit $PIPESTATUS'
    for (const args of [
      ['status', '-A'],
      ['check', '-o', 'json'],
    ]) {
      const own = [process.execPath, BUNDLE, ...args, `--kubeconfig=${plane.adminKubeconfig}`]
      const { status, stderr } = spawnSync('bash', ['-c', script, 'bash', ...own], { encoding: 'utf8' })
      assert.deepEqual(
        [status, stderr],
        [1, 'langflow-leader: cannot write to standard output: write EPIPE\n'],
      )
    }
  })

  test("commands in an agent's container use the agent's Lease and rights", async (t) => {
    const scene = await ApiServerScene.open(plane)
    t.after(() => scene.close())
    const ports = [await freePort(), await freePort()]
    const peers = ports.map((port) => `127.0.0.1:${port}`)
    const replica = (name: string, at?: string) =>
      scene.replica(name, { flags: [`--peers=${peers}`, `--listen=${at}`] })
    await (await replica('a', peers[0])).event('serving')
    await (await replica('b', peers[1])).event('standby_ready')
    const pod = { KUBERNETES_SERVICE_HOST: '127.0.0.1', POD_NAME: 'a', POD_UID: '1' }
    const place = { LEADER_KUBECONFIG: scene.kubeconfig('cli'), LEADER_LISTEN: peers[0] }
    const inPod = async (...args: string[]) => {
      const { code, stdout, stderr } = await runIn({ ...pod, ...place }, ...args, '-o', 'json')
      assert.equal(code, 0, stderr)
      return JSON.parse(stdout)
    }
    assert.deepEqual((await inPod('status')).lease.namespace, scene.namespace)
    assert.equal((await inPod('history')).terms.length, 1)
    const paused = await inPod('pause', '--for=1h', '--reason=upgrade')
    assert.deepEqual([paused.after.reason, paused.leader], ['upgrade', 'a'])
    assert.equal((await inPod('resume')).after, null)
    const tried = await inPod('switchover', '--dry-run')
    assert.deepEqual(tried, { result: 'would_request', asked: '*', from: 'a', candidates: ['b'] })
    const { result, from, to } = await inPod('switchover', '--yes')
    assert.deepEqual([result, from, to], ['switched', 'a', 'b'])
  })
})
