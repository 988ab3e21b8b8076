import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, sep } from 'node:path'
import { test } from 'node:test'

/** The folders of `agent/`: each may import from those before it, and none from those after it. */
const ROOMS = [
  '',
  'config',
  'kube',
  'lease',
  'processes',
  'link',
  'observe',
  'election',
  'supervisor',
  'launcher',
  'front',
  'traffic',
  'peers',
  'replica',
  'manifests',
  'operate',
  'inject',
  'install',
  'commands',
]

const IMPORT = /(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+)'/g

interface Import {
  readonly file: string
  readonly imports: string
}

function imports(): Import[] {
  return globSync('agent/**/*.ts').flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(IMPORT)].map(([, path = '']) => ({
      file,
      imports: join(dirname(file), path),
    })),
  )
}

function roomOf(file: string): string {
  const [, room = '', below] = file.split(sep)
  return below === undefined ? '' : room
}

test('every folder of agent/ has its place in the order', () => {
  const rooms = new Set(globSync('agent/**/*.ts').map(roomOf))
  assert.deepEqual([...rooms].sort(), [...ROOMS].sort())
})

test('nothing in agent/ imports from a folder that comes after its own, but main.ts', () => {
  const level = (file: string) => ROOMS.indexOf(roomOf(file))
  const upward = imports().filter(
    ({ file, imports }) => file !== join('agent', 'main.ts') && level(imports) > level(file),
  )
  assert.deepEqual(upward, [])
})

test('nothing in agent/ imports from outside of it', () => {
  assert.deepEqual(
    imports().filter(({ imports }) => !imports.startsWith(`agent${sep}`) && imports !== 'package.json'),
    [],
  )
})
