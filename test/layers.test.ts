import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, sep } from 'node:path'
import { test } from 'node:test'

/** The folders of `agent/`, with '' for the files beside them. A folder imports from itself and from earlier ones. */
const FOLDERS = [
  '',
  'config',
  'kube',
  'lease',
  'processes',
  'link',
  'status',
  'observe',
  'election',
  'supervisor',
  'launcher',
  'front',
  'peers',
  'replica',
  'install',
  'commands',
  'cli',
]

/** The one file that names the commands of both layers, and the file that loads it. */
const COMPOSITION = [join('agent', 'main.ts'), join('agent', 'program.ts')]

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

function folderOf(file: string): string {
  const [, folder = '', below] = file.split(sep)
  return below === undefined ? '' : folder
}

test('every folder of agent/ has its place in the order', () => {
  const folders = new Set(globSync('agent/**/*.ts').map(folderOf))
  assert.deepEqual([...folders].sort(), [...FOLDERS].sort())
})

test('the code that runs in pods imports nothing from agent/cli/, and no folder imports from a later one', () => {
  const level = (file: string) => FOLDERS.indexOf(folderOf(file))
  const upward = imports().filter(
    ({ file, imports }) => !COMPOSITION.includes(file) && level(imports) > level(file),
  )
  assert.deepEqual(upward, [])
})

test('no file of agent/ imports from outside of agent/, except package.json', () => {
  assert.deepEqual(
    imports().filter(({ imports }) => !imports.startsWith(`agent${sep}`) && imports !== 'package.json'),
    [],
  )
})

test('every file of agent/ has a unique name', () => {
  const names = globSync('agent/**/*.ts').map((file) => file.split(sep).at(-1))
  assert.deepEqual(
    names.filter((name, index) => names.indexOf(name) !== index),
    [],
  )
})
