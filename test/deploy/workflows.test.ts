import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import PACKAGE from '../../package.json' with { type: 'json' }
import { DEPLOY } from './manifests.ts'

const ROOT = join(DEPLOY, '..')
const FOLDER = join(ROOT, '.github/workflows')

interface Job {
  needs?: string | string[]
  outputs?: Record<string, string>
  steps?: { id?: string; run?: string }[]
}

for (const file of readdirSync(FOLDER))
  describe(`the workflow ${file}`, () => {
    const text = readFileSync(join(FOLDER, file), 'utf8')
    const { jobs } = parse(text) as { jobs: Record<string, Job> }
    const steps = Object.values(jobs).flatMap((job) => job.steps ?? [])

    test('names only scripts that exist and can be parsed', () => {
      for (const { run = '' } of steps) {
        for (const [, script] of run.matchAll(/(?<![\w/"])((?:\.\/)?(?:\.ci|deploy)\/[\w./-]+)/g)) {
          const path = join(ROOT, script!)
          if (script!.endsWith('.mjs')) execFileSync(process.execPath, ['--check', path])
          else execFileSync('bash', ['-n', path])
          assert.ok(statSync(path).mode & 0o100 || script!.endsWith('.mjs'), `${script} must be executable`)
        }
        for (const [, script] of run.matchAll(/npm run (?:--silent )?([\w:-]+)/g))
          assert.ok(script! in PACKAGE.scripts, script)
      }
    })

    test('uses only workflows that exist, and actions that are pinned to a commit with its version', () => {
      for (const [, action] of text.matchAll(/uses: (.+)/g))
        if (action!.startsWith('./')) assert.ok(existsSync(join(ROOT, action!)), action)
        else assert.match(action!, /^[\w/-]+@[0-9a-f]{40} # v\d/)
    })

    test('refers only to jobs, steps and outputs that it has, and no step writes an expression into a script', () => {
      for (const [name, job] of Object.entries(jobs)) {
        const needs = [job.needs ?? []].flat()
        for (const one of needs) assert.ok(one in jobs, `${name} needs ${one}`)
        const ids = new Set(job.steps?.map(({ id }) => id))
        const said = JSON.stringify(job)
        for (const [, step] of said.matchAll(/\bsteps\.(\w+)\./g))
          assert.ok(ids.has(step), `${name}: ${step}`)
        for (const [, other, output] of said.matchAll(/\bneeds\.(\w+)\.outputs\.(\w+)/g))
          assert.ok(
            needs.includes(other!) && output! in jobs[other!]!.outputs!,
            `${name}: ${other}.${output}`,
          )
        for (const { run = '' } of job.steps ?? [])
          assert.doesNotMatch(run, /\$\{\{(?! matrix\.)/, `${name}: give it to the script by env`)
      }
    })
  })
