import assert from 'node:assert/strict'
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { VERSION } from '../../agent/version.ts'

const ROOT = join(import.meta.dirname, '../..')
const WORKFLOWS = join(ROOT, '.github/workflows')

interface Step {
  readonly uses?: string
  readonly run?: string
  readonly with?: Readonly<Record<string, unknown>>
}

interface Job {
  readonly needs?: string | readonly string[]
  readonly steps: readonly Step[]
  readonly 'timeout-minutes': number
}

interface Workflow {
  readonly permissions: Readonly<Record<string, string>>
  /** A job runs steps, or another workflow of this repository. */
  readonly jobs: Readonly<Record<string, Job | { readonly uses: string }>>
}

describe('the workflows', () => {
  for (const name of readdirSync(WORKFLOWS)) {
    const text = readFileSync(join(WORKFLOWS, name), 'utf8')
    const workflow = parse(text) as Workflow
    const jobs = Object.values(workflow.jobs).filter((job): job is Job => !('uses' in job))
    const steps = jobs.flatMap((job) => job.steps)

    test(`${name} pins each action to a commit, with the version in a comment`, () => {
      const used = text.split('\n').filter((line) => /^\s*(- )?uses: (?!\.\/)/.test(line))
      assert.equal(used.length, steps.filter(({ uses }) => uses !== undefined).length)
      for (const line of used) assert.match(line, /uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
    })

    test(`${name} gives its token no write right by default, and each job a timeout`, () => {
      const written = Object.entries(workflow.permissions).filter(([, right]) => right !== 'read')
      assert.deepEqual(written, [])
      for (const job of jobs) assert.ok(job['timeout-minutes'] > 0)
    })

    test(`${name} runs only executable scripts of this repository`, () => {
      const scripts = steps.flatMap(({ run = '' }) => run.match(/(?<![\w/])(\.ci|deploy)\/[\w./-]+/g) ?? [])
      assert.ok(scripts.length > 0)
      for (const script of scripts) accessSync(join(ROOT, script), constants.X_OK)
    })
  }

  test('a release needs the CI and nightly workflows, and makes the image, then the chart, then the files', () => {
    const { jobs } = parse(readFileSync(join(WORKFLOWS, 'release.yml'), 'utf8')) as Workflow
    const needs = (name: string) => [(jobs[name] as Job).needs ?? []].flat()
    const workflows = needs('image').map((name) => (jobs[name] as { uses: string }).uses)
    assert.deepEqual(workflows, ['./.github/workflows/ci.yml', './.github/workflows/nightly.yml'])
    assert.deepEqual([needs('chart'), needs('release')], [['image'], ['image', 'chart']])
  })

  test('the suites have the whole history, from which e2e builds the baseline', () => {
    const { jobs } = parse(readFileSync(join(WORKFLOWS, 'ci.yml'), 'utf8')) as Workflow
    const checkout = (jobs.suites as Job).steps.find(({ uses }) => uses?.startsWith('actions/checkout@'))
    assert.equal(checkout?.with?.['fetch-depth'], 0)
  })

  test('the Dockerfile has the version of package.json as its default', () => {
    assert.match(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'), new RegExp(`^ARG VERSION=${VERSION}$`, 'm'))
  })
})
