import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { holdLock, lookAtLock } from '../../agent/link/launcher-lock.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'

let dir: string
let socket: string
let children: ChildProcess[]

beforeEach(() => {
  dir = temporaryDirectory()
  socket = join(dir, 'launcher.sock')
  children = []
})

afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
})

/** Takes the lock, then opens and closes each path that it reads from its standard input. */
const HOLD = `
  const { closeSync, openSync } = await import('node:fs')
  const { holdLock } = await import(${JSON.stringify(import.meta.resolve('../../agent/link/launcher-lock.ts'))})
  const lock = holdLock(process.argv[1])
  console.log(lock !== null)
  setInterval(() => lock, 60_000)
  process.stdin.on('data', (path) => {
    closeSync(openSync(String(path), 'r+'))
    console.log('closed')
  })
`

/** Starts a process that takes the lock, through the command `entry`. `got`: whether it has the lock. */
async function holder(entry: readonly string[] = []): Promise<{ child: ChildProcess; got: boolean }> {
  const [program, ...args] = [...entry, process.execPath, '--input-type=module', '--eval', HOLD, socket]
  const child = spawn(program as string, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  children.push(child)
  const [said] = (await once(child.stdout as NodeJS.ReadableStream, 'data')) as [Buffer]
  return { child, got: String(said).trim() === 'true' }
}

const REMOUNT = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
const READ_ONLY = ['unshare', '--mount', 'sh', '-c', REMOUNT]
const skip = spawnSync('unshare', ['--mount', 'true']).status !== 0 && 'mount namespaces are not available'

describe('the lock of a launcher', () => {
  test('is held until its process is dead, and keeps its id', async () => {
    const { id, held } = lookAtLock(socket)
    assert.equal(held, false)
    const { child, got } = await holder()
    assert.deepEqual([got, lookAtLock(socket)], [true, { id, held: true }])
    child.kill('SIGSTOP')
    assert.deepEqual(lookAtLock(socket), { id, held: true })
    child.kill('SIGKILL')
    await once(child, 'exit')
    assert.deepEqual(lookAtLock(socket), { id, held: false })
  })

  test('works through a read-only mount', { skip }, async () => {
    lookAtLock(socket)
    const { got } = await holder([...READ_ONLY, dir])
    assert.deepEqual([got, lookAtLock(socket).held], [true, true])
  })

  test('stays held if a flow makes its holder open and close the file through a link', async () => {
    lookAtLock(socket)
    const { child } = await holder()
    const link = join(dir, 'flow.json')
    symlinkSync(`${socket}.lock`, link)
    child.stdin?.write(link)
    await once(child.stdout as NodeJS.ReadableStream, 'data')
    assert.equal(lookAtLock(socket).held, true)
  })

  test('has another id after its file was replaced', () => {
    const { id } = lookAtLock(socket)
    const first = holdLock(socket)
    rmSync(`${socket}.lock`)
    assert.notEqual(lookAtLock(socket).id, id)
    first?.close()
  })
})
