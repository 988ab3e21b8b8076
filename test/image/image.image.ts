import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { VERSION } from '../../agent/version.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { Image, PROGRAM } from './image.ts'
import { requireTools } from './requirements.ts'

const PACKAGE = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'))

requireTools()
const scratch = temporaryDirectory()
const image = await Image.unpack(scratch)

describe('the image', () => {
  test('starts the agent under tini as a non-root user', () => {
    const { User, Entrypoint, Cmd } = image.config
    assert.equal(User, '1000:1000')
    const [tini, dashes, node, flag, program, ...more] = Entrypoint
    assert.deepEqual([tini, dashes, node], [`${PROGRAM}/tini`, '--', `${PROGRAM}/node`])
    assert.deepEqual([flag, program], ['--disable-sigusr1', `${PROGRAM}/langflow-leader.mjs`])
    assert.deepEqual([...more, ...Cmd], ['agent'])
    assert.match(readFileSync(image.path('/etc/passwd'), 'utf8'), /^langflow-leader:x:1000:1000:/m)
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

  describe('with a read-only root and without capabilities', () => {
    test('prints its version, also as the program langflow-leader', async () => {
      const version = { code: 0, output: VERSION }
      assert.deepEqual(await image.start(['--version']).result(), version)
      assert.deepEqual(await image.execute(['langflow-leader', '--version']).result(), version)
    })
  })
})
