import assert from 'node:assert/strict'
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, test } from 'node:test'
import { play } from './script.ts'

/** With the variable UPDATE, the present outcomes are written into the scripts, so that a reviewer sees the diff. */
for (const file of globSync(join(import.meta.dirname, 'scripts', '*.txt'))) {
  const scenarios = readFileSync(file, 'utf8').split(/^(?=# )/m)
  if (process.env.UPDATE) writeFileSync(file, scenarios.map(play).join(''))
  describe(basename(file, '.txt'), () => {
    for (const scenario of scenarios)
      test(scenario.slice(2, scenario.indexOf('\n')), () => assert.equal(play(scenario), scenario))
  })
}
