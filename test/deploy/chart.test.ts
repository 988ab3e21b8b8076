import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { AGENT_SETTINGS, CONTENT_SETTINGS } from '../../agent/config/schema.ts'
import { flagOf } from '../../agent/config/setting.ts'
import { VERSION } from '../../agent/version.ts'
import { chartReadme } from './chart-readme.ts'
import { DEPLOY } from './manifests.ts'

const read = (file: string) => readFileSync(join(DEPLOY, 'chart', file), 'utf8')

const OF_THE_CHART = [
  'lease-name',
  'lease-namespace',
  'kubeconfig',
  'identity',
  'target',
  'state-dir',
  'standby',
  'peers',
  'traffic',
  'report-lost-pods',
  'listen',
  'front-listen',
  'front-address',
  'socket',
  'handover-on-change',
  'env-file',
]

interface Schema {
  readonly dependencies?: Readonly<Record<string, readonly [string]>>
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: unknown
}

describe('the chart', () => {
  const schema = JSON.parse(read('values.schema.json')) as Schema
  const values = parse(read('values.yaml')) as Record<string, unknown>

  test('has the version of this program, as the Dockerfile has', () => {
    assert.match(
      readFileSync(join(DEPLOY, '../Dockerfile'), 'utf8'),
      new RegExp(`^ARG VERSION=${VERSION}$`, 'm'),
    )
    const { version, appVersion, annotations } = parse(read('Chart.yaml'))
    assert.deepEqual([version, appVersion], [VERSION, VERSION])
    const { image } = values.langflow as { image: { repository: string; tag: string } }
    assert.deepEqual(
      parse(annotations['artifacthub.io/images']).map(({ image }: { image: string }) => image),
      [`ghcr.io/OWNER/langflow-leader:${VERSION}`, `docker.io/${image.repository}:${image.tag}`],
    )
  })

  test('has a README of its values', () => {
    assert.equal(read('README.md'), chartReadme(), 'run npm run manifests')
  })

  test('accepts every flag of agent and launcher that it does not set itself', () => {
    const flags = Object.keys({ ...AGENT_SETTINGS, ...CONTENT_SETTINGS }).map((key) => flagOf(key).slice(2))
    const accepted = Object.keys(schema.properties!.flags!.properties!)
    assert.deepEqual([...accepted, ...OF_THE_CHART].sort(), flags.sort())
  })

  test('has the values that it names for those of other charts', () => {
    for (const [other, [text]] of Object.entries(schema.dependencies!)) {
      const [, path = ''] = /^(\S+) instead$/.exec(text)!
      const own = path
        .split('.')
        .reduce<Schema | undefined>((inner, name) => inner?.properties?.[name], schema)
      assert.ok(own && !(other in schema.properties!), `${other}: ${text}`)
    }
  })

  test('has a default for each value of its schema, and a value for each property of it', () => {
    // Helm adds `global` to the values of a chart in a chart.
    const { global: _, ...properties } = schema.properties!
    assert.deepEqual(Object.keys(values).sort(), Object.keys(properties).sort())
    for (const [name, { properties: inner }] of Object.entries(properties))
      if (inner && name !== 'flags')
        assert.deepEqual(Object.keys(values[name] as object).sort(), Object.keys(inner).sort(), name)
  })
})
