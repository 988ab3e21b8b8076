import assert from 'node:assert/strict'
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { commandLineOf } from '../../agent/processes/proc.ts'
import { VERSION } from '../../agent/version.ts'
import { kubeconfigFor, LeaseServer } from '../harness/api/api-server.ts'
import { freePort } from '../harness/free-port.ts'
import { ask, FAST } from '../harness/replica.ts'
import { LEASE } from '../harness/scene.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { Container, type Mount, makeVolume, type User } from './container.ts'
import { Image, PROGRAM } from './image.ts'
import { BUSYBOX, requireTools } from './requirements.ts'

const DIRECTORY = '/opt/langflow-leader'
const SOCKETS = '/run/langflow-leader'

requireTools()
const scratch = temporaryDirectory()
const image = await Image.unpack(scratch)
/** The root of an image that contains only one static program. */
const foreign = makeForeignRoot(join(scratch, 'foreign'))

describe('the program in a container of another image', () => {
  /** Installs the program in a volume, as the init container does. */
  async function installed(directory: string, of = image, volume = makeVolume(scratch)): Promise<Mount> {
    const container = of.start(['install', directory], [{ source: volume, destination: directory }])
    const { code, output } = await container.result()
    assert.equal(code, 0, output)
    assert.match(
      output,
      new RegExp(`^installed tini, node v24.* and langflow-leader ${VERSION} in ${directory};`),
    )
    return { source: volume, destination: directory, readOnly: true }
  }

  const launcher = (directory: string, args: readonly string[]) => [
    `${directory}/node`,
    '--disable-sigusr1',
    `${directory}/langflow-leader.mjs`,
    ...args,
  ]

  /**
   * Starts a replica as in a pod, with LangFlow's container from another image. Resolves once it serves. `user`, if given, is that
   * of all its containers, and `volume` makes its volumes.
   */
  async function serve(t: TestContext, program: Mount, volume = () => makeVolume(scratch), user?: User) {
    const api = new LeaseServer(systemClock)
    api.put({ metadata: { name: LEASE }, spec: {} })
    await api.listen()
    t.after(() => api.close())
    const kubeconfig = join(temporaryDirectory(), 'kubeconfig')
    writeFileSync(kubeconfig, kubeconfigFor(api.url))
    const [port, listen] = [await freePort(), await freePort()]
    const sockets = { source: volume(), destination: SOCKETS }
    const flags = [...FAST, `--listen=127.0.0.1:${listen}`, `--target=http://127.0.0.1:${port}`]
    const agent = (user ? image.as(user) : image).startAgent(flags, kubeconfig, sockets, volume())
    t.after(() => agent.stop())
    const langflow = ['/bin/busybox', 'httpd', '-f', '-p', `127.0.0.1:${port}`, '-h', '/www']
    const container = new Container({
      root: foreign,
      args: launcher(program.destination, ['launch', '--', ...langflow]),
      env: ['PATH=/bin', 'HOME=/', 'OWN=1'],
      mounts: [program, { ...sockets, readOnly: true }],
      ...(user && { user }),
    })
    t.after(() => container.stop())
    await agent.event('serving')
    return { agent, container, port, listen, api }
  }

  const ways: [title: string, program: () => Promise<Mount>][] = [
    [`installed in ${DIRECTORY}`, () => installed(DIRECTORY)],
    [
      'as an image volume',
      async () => ({ source: image.path(PROGRAM), destination: PROGRAM, readOnly: true }),
    ],
  ]
  for (const [title, program] of ways) {
    test(`starts LangFlow in an image without libraries: ${title}`, async (t) => {
      const { agent, container, port, listen, api } = await serve(t, await program())
      assert.equal((await ask(port, '/health')).status, 200)
      assert.equal((await ask(listen, '/readyz')).status, 200)
      assert.equal((await ask(listen, '/workloadz')).status, 200)
      assert.equal(api.lease(LEASE)?.spec?.holderIdentity, 'a')
      // LangFlow must not inherit variables that only node needs.
      const environment = readFileSync(`/proc/${pidOf('httpd', port)}/environ`, 'utf8')
        .split('\0')
        .sort()
      assert.deepEqual(
        environment.map((pair) => pair.replace(/=.*/, '')).filter((name) => name !== ''),
        ['HOME', 'LANGFLOW_LEADER_TREE', 'LEADER_EPOCH', 'LEADER_IDENTITY', 'OWN', 'PATH'],
      )
      assert.equal(await agent.stop(), 0)
      assert.equal(await container.stop(), 0)
      assert.ok(container.events().includes('workload_stopped'))
      assert.ok(agent.events().includes('released'))
    })
  }

  /** As with OpenShift's `restricted-v2`: a uid of the namespace's range in the root group. The fsGroup is of the same range. */
  const arbitrary = { uid: 1_000_690_000, gid: 0 }
  test('starts LangFlow as an arbitrary user of the root group, with volumes of the fsGroup', async (t) => {
    const user = { ...arbitrary, additionalGids: [arbitrary.uid] }
    const volume = () => makeVolume(scratch, { mode: 0o2770, owner: { uid: 0, gid: arbitrary.uid } })
    const program = await installed(DIRECTORY, image.as(user), volume())
    const { agent, container, port, listen } = await serve(t, program, volume, user)
    assert.equal((await ask(listen, '/readyz')).status, 200)
    const status = readFileSync(`/proc/${pidOf('httpd', port)}/status`, 'utf8')
    assert.match(status, new RegExp(`^Uid:\\s+${user.uid}\\s`, 'm'))
    assert.equal(await agent.stop(), 0)
    assert.equal(await container.stop(), 0)
    assert.ok(agent.events().includes('released'))
  })

  test('starts even if the image has unusable versions of its libraries', async () => {
    const root = join(scratch, 'hostile')
    cpSync(foreign, root, { recursive: true })
    const libraries = readdirSync(image.path(`${PROGRAM}/lib`))
    for (const directory of [
      '/lib',
      '/lib64',
      '/usr/lib',
      '/usr/lib/x86_64-linux-gnu',
      '/usr/lib/aarch64-linux-gnu',
    ]) {
      mkdirSync(join(root, directory), { recursive: true })
      for (const name of libraries) writeFileSync(join(root, directory, name), 'another one', { mode: 0o755 })
    }
    const { code, output } = await new Container({
      root,
      args: launcher(DIRECTORY, ['--version']),
      env: ['LD_LIBRARY_PATH=/usr/lib:/lib'],
      mounts: [await installed(DIRECTORY)],
    }).result()
    assert.equal(output, VERSION)
    assert.equal(code, 0)
  })
})

function makeForeignRoot(root: string): string {
  for (const directory of ['bin', 'www']) mkdirSync(join(root, directory), { recursive: true })
  copyFileSync(BUSYBOX, join(root, 'bin/busybox'))
  for (const path of ['health', 'health_check']) writeFileSync(join(root, 'www', path), '{"status":"ok"}')
  return root
}

/** Returns the PID on this machine of the container's process with these arguments. */
function pidOf(applet: string, port: number): number {
  const pids = readdirSync('/proc').map(Number).filter(Boolean)
  const found = pids.filter((pid) => {
    const args = commandLineOf(pid).split('\0')
    return args[1] === applet && args.includes(`127.0.0.1:${port}`)
  })
  assert.equal(found.length, 1, `there must be exactly one ${applet} on port ${port}`)
  return found[0] as number
}
