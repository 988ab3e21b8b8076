import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { VERSION } from '../../agent/version.ts'
import { freePort } from '../harness/free-port.ts'
import { ask } from '../harness/replica.ts'
import { until } from '../harness/wait.ts'
import { makeVolume } from './container.ts'
import { Image, PROGRAM } from './image.ts'
import { requireTools } from './requirements.ts'
import { kubeconfigOf } from './tls-api.ts'

const MEGABYTE = 1_000_000
/** Compressed, for all files but node and its libraries. */
const LARGEST_BESIDE_NODE = 5 * MEGABYTE
const PACKAGE = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'))

describe('the image', () => {
  let scratch: string
  let image: Image

  before(async () => {
    requireTools()
    scratch = mkdtempSync(join(tmpdir(), 'image-test-'))
    image = await Image.unpack(scratch)
  })
  after(() => scratch && rmSync(scratch, { recursive: true }))

  test('starts the agent under tini as a non-root user', () => {
    const { User, Entrypoint, Cmd } = image.config
    assert.equal(User, '1000:1000')
    const [tini, dashes, node, flag, program, ...more] = Entrypoint
    assert.deepEqual([tini, dashes, node], [`${PROGRAM}/tini`, '--', `${PROGRAM}/node`])
    assert.deepEqual([flag, program], ['--disable-sigusr1', `${PROGRAM}/langflow-leader.mjs`])
    assert.deepEqual([...more, ...Cmd], ['agent'])
    assert.match(readFileSync(image.path('/etc/passwd'), 'utf8'), /^langflow-leader:x:1000:1000:/m)
  })

  test('has the labels that registries show, with the version of package.json', () => {
    const label = (name: string) => image.config.Labels[`org.opencontainers.image.${name}`]
    assert.equal(label('title'), PACKAGE.name)
    assert.equal(label('licenses'), PACKAGE.license)
    assert.equal(label('version'), VERSION, 'ARG VERSION of the Dockerfile must match package.json')
    assert.ok(label('description'))
    assert.ok(label('revision'))
  })

  test('contains tini, node, the program and mkfifo, but no shell and no package manager', async () => {
    const programs = image.programs().filter((path) => !path.startsWith(`${PROGRAM}/lib/`))
    assert.deepEqual(programs, [
      ...[`${PROGRAM}/langflow-leader.mjs`, `${PROGRAM}/node`, `${PROGRAM}/tini`],
      '/usr/libexec/langflow-leader/mkfifo',
    ])
    assert.equal((await image.execute(['mkfifo', '--version']).result()).code, 0)
    const libraries = image.files().filter((path) => path.startsWith(`${PROGRAM}/lib/`))
    assert.ok(libraries.length >= 5, `${libraries}`)
    for (const path of libraries) assert.match(path, /\.so(\.\d+)*$/)
  })

  test('has a compressed size of at most 5 MB beside Node and its libraries', (t) => {
    const size = image.compressedSize()
    const beside = size - image.compressedSizeOfNode()
    const mb = (bytes: number) => `${(bytes / MEGABYTE).toFixed(1)} MB`
    t.diagnostic(`compressed size: ${mb(size)}, of which ${mb(beside)} are not Node`)
    assert.ok(beside <= LARGEST_BESIDE_NODE, `${beside} bytes`)
  })

  test('has a bill of materials with its npm packages, node, tini and the C libraries', () => {
    const bill = JSON.parse(readFileSync(image.path('/usr/share/langflow-leader/sbom.cdx.json'), 'utf8'))
    assert.equal(bill.bomFormat, 'CycloneDX')
    assert.equal(bill.metadata.component.name, 'langflow-leader')
    assert.equal(bill.metadata.component.version, VERSION)
    const components = bill.components as { name: string; version: string; purl: string; 'bom-ref': string }[]
    const versionsOf = (name: string) =>
      components.filter((one) => one.name === name).map((one) => one.version)
    for (const [name, version] of Object.entries(PACKAGE.dependencies))
      assert.ok(versionsOf(name).includes(version as string), `${name} ${version}`)
    for (const name of ['typescript', 'esbuild', '@biomejs/biome']) assert.deepEqual(versionsOf(name), [])
    assert.match(versionsOf('node').join(), /^24\./)
    for (const name of ['libc6', 'libgcc-s1', 'libstdc++6', 'tini'])
      assert.match(versionsOf(name).join(), /^\d[^,]*$/, name)
    for (const { name, purl } of components) assert.match(purl, /^pkg:(npm|deb|generic)\//, name)
    const known = new Set(components.map((one) => one['bom-ref']).concat(bill.metadata.component['bom-ref']))
    for (const { ref, dependsOn } of bill.dependencies)
      for (const one of [ref, ...dependsOn]) assert.ok(known.has(one), `${one} must be a component`)
  })

  test('has the files in which image scanners look for the distribution and its packages', () => {
    for (const name of ['libc6', 'tini'])
      assert.match(
        readFileSync(image.path(`/var/lib/dpkg/status.d/${name}`), 'utf8'),
        new RegExp(`^Package: ${name}$`, 'm'),
      )
    assert.match(readFileSync(image.path('/etc/os-release'), 'utf8'), /^ID=debian$/m)
    assert.match(readFileSync(image.path('/etc/debian_version'), 'utf8'), /^\d+\.\d+$/m)
  })

  describe('with a read-only root and without capabilities', () => {
    test('prints its version, also as the program langflow-leader', async () => {
      const version = { code: 0, output: VERSION }
      assert.deepEqual(await image.start(['--version']).result(), version)
      assert.deepEqual(await image.execute(['langflow-leader', '--version']).result(), version)
    })

    test('prints the help of a command', async () => {
      const { code, output } = await image.start(['status', '--help']).result()
      assert.equal(code, 0)
      assert.match(output, /^Usage: langflow-leader status /)
    })

    test('runs an agent that survives without an API server and ends on SIGTERM', async (t) => {
      const [listen, nobody] = [await freePort(), await freePort()]
      const kubeconfig = join(scratch, 'dead.kubeconfig')
      writeFileSync(kubeconfig, kubeconfigOf({ server: `http://127.0.0.1:${nobody}` }))
      const sockets = { source: makeVolume(scratch), destination: '/run/langflow-leader' }
      const flags = [`--listen=127.0.0.1:${listen}`]
      const agent = image.startAgent(flags, kubeconfig, sockets, makeVolume(scratch))
      t.after(() => agent.stop())
      await until('the agent answers /livez', async () => {
        assert.ok(!agent.ended, agent.output.join('\n'))
        return (await ask(listen, '/livez').catch(() => undefined))?.status === 200
      })
      assert.equal((await ask(listen, '/readyz')).status, 503)
      assert.equal(await agent.stop(), 0, agent.output.join('\n'))
    })
  })
})
