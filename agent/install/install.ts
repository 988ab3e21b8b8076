import { chmodSync, copyFileSync, existsSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs'
import { basename, delimiter, dirname, extname, join } from 'node:path'
import { makeDirectory } from '../directory.ts'
import { reasonOf } from '../errno.ts'
import { FatalError } from '../exit.ts'
import { lookUp } from '../processes/spawn.ts'
import { readInterpreter, writeInterpreter } from './interpreter.ts'

/** The static one comes first, because it starts in any image. */
const TINI_NAMES = ['tini-static', 'tini']
/**
 * If a program's user may only execute it and not read it, the kernel allows no other process of that user to trace its
 * processes, or to read their memory. A flow runs as the same user as its launcher.
 */
const EXECUTE_ONLY = 0o111
/**
 * A copy of the dynamic loader, beside the image's node. The loader itself may only be executed there and not read, for
 * the same reason as an installed node (an image volume). The image's node is readable, since it is copied.
 */
const READABLE_LOADER = 'loader'
const LIBRARIES = 'lib'

/** Puts the three programs into `target`, each atomically, with the libraries of the image's node. */
export function install(target: string, { program, path }: { program: string; path: string }): void {
  const bundle = realpathSync(program)
  if (extname(bundle) === '.ts') {
    throw new FatalError(
      'install copies the built program, but this process runs from source: run npm run build, then node dist/langflow-leader.mjs install DIR',
    )
  }
  const tini = findTini([...path.split(delimiter), dirname(process.execPath)])
  const own = ownLibraries(process.execPath)
  try {
    makeDirectory(target)
    if (own !== null) makeDirectory(join(target, LIBRARIES))
    for (const [name, library] of own?.files ?? []) replace(library, join(target, LIBRARIES, name))
    replace(tini, join(target, 'tini'))
    replace(process.execPath, join(target, 'node'), (draft) => {
      if (own !== null) writeInterpreter(draft, join(target, LIBRARIES, own.loader))
      chmodSync(draft, EXECUTE_ONLY)
    })
    replace(bundle, join(target, 'langflow-leader.mjs'))
  } catch (error) {
    throw new FatalError(`cannot write to ${target}: ${reasonOf(error, REMEDIES)}`, { cause: error })
  }
}

function ownLibraries(node: string) {
  const interpreter = interpreterOf(node)
  const directory = join(dirname(node), LIBRARIES)
  if (interpreter === undefined || !existsSync(interpreter) || !existsSync(directory)) return null
  if (realpathSync(dirname(interpreter)) !== realpathSync(directory)) return null
  const loader = basename(interpreter)
  const files = new Map(readdirSync(directory).map((file) => [file, join(directory, file)]))
  const readable = join(dirname(node), READABLE_LOADER)
  if (existsSync(readable)) files.set(loader, readable)
  return { files, loader }
}

function interpreterOf(node: string): string | undefined {
  try {
    return readInterpreter(node)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error
    throw new FatalError(
      `${node} is executable but not readable, like each copy that install makes: install from the image, or as root`,
    )
  }
}

function findTini(directories: readonly string[]): string {
  const path = directories.filter((directory) => directory.startsWith('/')).join(delimiter)
  const found = TINI_NAMES.map((name) => lookUp(name, path)).find((file) => file !== undefined)
  if (found !== undefined) return found
  throw new FatalError(
    'tini is not installed: put tini-static on the PATH (Debian: apt-get install tini), or use the image, which has it',
  )
}

/** A process that opens the old file during the copy reads the whole old file. */
function replace(source: string, target: string, prepare?: (draft: string) => void): void {
  const draft = `${target}.new`
  try {
    // A file of a killed install may not be writable.
    rmSync(draft, { force: true })
    copyFileSync(source, draft)
    chmodSync(draft, 0o755)
    prepare?.(draft)
    renameSync(draft, target)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
}

const MAY_NOT = `user ${process.getuid?.()} has no permission; mount a volume that it can write to (in a pod: set fsGroup)`
const REMEDIES = {
  EACCES: MAY_NOT,
  EPERM: MAY_NOT,
  EROFS: 'it is read-only; mount a volume there, without readOnly in this container',
  ENOSPC: 'there is no space left; it takes 130 MB',
}
