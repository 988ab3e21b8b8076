import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readRows } from '../../agent/cli/read-status.ts'
import { silent } from '../observe/replica.ts'
import { LEADER } from './agents.ts'

test('rows that a replica tells are read, with a reason where one has no status', () => {
  const row = silent('b', 'connection refused')
  const odd = { ...row, status: { identity: 'b_1' }, problem: null }
  const told = 'it answers, but not with the status of an agent that this version understands'
  assert.deepEqual(readRows([LEADER, row, odd]), [LEADER, row, silent('b', told)])
})

test('what are no rows is told from them', () => {
  for (const value of [{ error: 'x' }, null, [1], [{ pod: 'a' }]]) assert.equal(readRows(value), null)
})
