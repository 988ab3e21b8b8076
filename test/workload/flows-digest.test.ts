import assert from 'node:assert/strict'
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { FlowsDigest } from '../../agent/workload/flows-digest.ts'

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'flows-'))
  t.after(() => rmSync(dir, { recursive: true }))
  return dir
}

let seconds = 1_700_000_000

/** Writes with a time of its own, however fast one write follows another. */
function write(file: string, text: string): void {
  writeFileSync(file, text)
  touch(file)
}

function touch(file: string): void {
  seconds++
  utimesSync(file, seconds, seconds)
}

/** Of a directory with `a.json` and `b.json`, after the first look. */
async function looked(t: TestContext) {
  const dir = directory(t)
  const [a, b] = [join(dir, 'a.json'), join(dir, 'b.json')]
  write(a, '{"a":1}')
  write(b, '{"b":1}')
  const digest = new FlowsDigest(dir)
  await digest.changed()
  assert.equal(await digest.changed(), false)
  return { dir, a, b, digest }
}

/** It is told once. */
async function assertChanged(digest: FlowsDigest, change: boolean): Promise<void> {
  assert.equal(await digest.changed(), change)
  assert.equal(await digest.changed(), false)
}

describe('flows have changed', () => {
  test('when the content of one has', async (t) => {
    const { a, digest } = await looked(t)
    write(a, '{"a":1,"more":true}')
    await assertChanged(digest, true)
  })

  test('when its content has and its size has not', async (t) => {
    const { a, digest } = await looked(t)
    const { size } = statSync(a)
    write(a, '{"a":2}')
    assert.equal(statSync(a).size, size)
    await assertChanged(digest, true)
  })

  test('when one was put in the place of another of the same size and time', async (t) => {
    const { dir, a, digest } = await looked(t)
    const { mtime } = statSync(a)
    const next = join(dir, 'next')
    write(next, '{"a":2}')
    utimesSync(next, mtime, mtime)
    renameSync(next, a)
    await assertChanged(digest, true)
  })

  test('when there is a new one, also in a directory that was empty', async (t) => {
    const { dir, digest } = await looked(t)
    write(join(dir, 'c.json'), '{}')
    await assertChanged(digest, true)
    const empty = directory(t)
    const other = new FlowsDigest(empty)
    await assertChanged(other, false)
    write(join(empty, 'a.json'), '{}')
    await assertChanged(other, true)
  })

  test('when one was removed, also the last one', async (t) => {
    const { a, b, digest } = await looked(t)
    rmSync(b)
    await assertChanged(digest, true)
    rmSync(a)
    await assertChanged(digest, true)
  })

  test('when one was renamed', async (t) => {
    const { dir, b, digest } = await looked(t)
    renameSync(b, join(dir, 'c.json'))
    await assertChanged(digest, true)
  })

  test('when two have changed places', async (t) => {
    const { dir, a, b, digest } = await looked(t)
    renameSync(a, join(dir, 'x'))
    renameSync(b, a)
    renameSync(join(dir, 'x'), b)
    await assertChanged(digest, true)
  })

  test('when a ConfigMap was replaced: each name links to one in "..data", which links to another directory', async (t) => {
    const dir = directory(t)
    const version = (name: string, text: string) => {
      mkdirSync(join(dir, name))
      write(join(dir, name, 'a.json'), text)
      symlinkSync(name, join(dir, '..next'))
      renameSync(join(dir, '..next'), join(dir, '..data'))
    }
    version('..one', '{"a":1}')
    symlinkSync(join('..data', 'a.json'), join(dir, 'a.json'))
    const digest = new FlowsDigest(dir)
    await digest.changed()
    version('..two', '{"a":2}')
    await assertChanged(digest, true)
    version('..three', '{"a":2}')
    await assertChanged(digest, false)
  })
})

describe('flows have not changed', () => {
  test('when one was touched, or written again as it was', async (t) => {
    const { a, b, digest } = await looked(t)
    touch(a)
    write(b, '{"b":1}')
    await assertChanged(digest, false)
  })

  test('when others than "*.json", or flows below the directory, have', async (t) => {
    const { dir, digest } = await looked(t)
    mkdirSync(join(dir, 'more'))
    for (const name of ['notes.txt', 'a.json.bak', 'json', 'more/c.json']) write(join(dir, name), '{}')
    await assertChanged(digest, false)
  })

  test('when a directory is named like one, which hides no change of the others', async (t) => {
    const { dir, a, digest } = await looked(t)
    mkdirSync(join(dir, 'old.json'))
    await assertChanged(digest, false)
    write(a, '{"a":2}')
    await assertChanged(digest, true)
  })

  test('when there is no directory of them', async () => {
    const digest = new FlowsDigest(null)
    await assertChanged(digest, false)
  })

  test('when they cannot be read for a while', async (t) => {
    const { dir, a, digest } = await looked(t)
    const aside = `${dir}-aside`
    renameSync(dir, aside)
    await assertChanged(digest, false)
    writeFileSync(dir, 'no directory')
    await assertChanged(digest, false)
    rmSync(dir)
    renameSync(aside, dir)
    await assertChanged(digest, false)
    write(a, '{"a":2}')
    await assertChanged(digest, true)
  })

  test('when the directory comes later, and empty', async (t) => {
    const dir = join(directory(t), 'later')
    const digest = new FlowsDigest(dir)
    await assertChanged(digest, false)
    mkdirSync(dir)
    await assertChanged(digest, false)
    write(join(dir, 'a.json'), '{}')
    await assertChanged(digest, true)
  })
})
