import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseOptions, UsageError } from './options.ts'

const MAIN = `--main=${import.meta.filename}`

test('without options everything is measured, three times', () => {
  const { out, preset, ...options } = parsed()
  assert.deepEqual(options, {
    rounds: 3,
    modes: ['cold', 'warm', 'spare'],
    faults: ['worker', 'replica', 'switchover', 'agent', 'api'],
    main: import.meta.filename,
  })
  assert.equal(out, undefined)
  assert.equal(preset, undefined)
})

test('lists are in the order of the tables, each member once', () => {
  const options = parsed('--modes', 'warm,cold,warm', '--faults=api,worker', '--rounds=1', '--preset=fast')
  assert.deepEqual(options.modes, ['cold', 'warm'])
  assert.deepEqual(options.faults, ['worker', 'api'])
  assert.equal(options.rounds, 1)
  assert.equal(options.preset?.leaseMs, 6_000)
})

for (const [args, complaint] of [
  [['--modes', 'frozen'], /--modes: 'frozen' is none of cold, warm/],
  [['--faults', 'worker,'], /--faults: '' is none of/],
  [['--rounds', '0'], /--rounds: '0' is no whole number from 1/],
  [['--rounds', '2.5'], /--rounds: '2.5'/],
  [['--preset', 'slow'], /--preset: 'slow' is neither default nor fast/],
  [['--out', '/nowhere/page.md'], /--out: cannot write into \/nowhere/],
  [['--main', '/nowhere/main.mjs'], /there is no \/nowhere\/main.mjs/],
  [['--colour'], /'--colour'/],
  [['more'], /more/],
] as const) {
  test(`refused with one sentence: ${args.join(' ')}`, () => {
    assert.throws(
      () => parseOptions([MAIN, ...args]),
      (error) => error instanceof UsageError && complaint.test(error.message),
    )
  })
}

test('who asks for help gets it', () => {
  assert.equal(parseOptions(['--help']), 'help')
})

function parsed(...args: string[]) {
  const options = parseOptions([MAIN, ...args])
  assert.notEqual(options, 'help')
  return options as Exclude<typeof options, 'help'>
}
