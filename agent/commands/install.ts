import { execFileSync } from 'node:child_process'
import { accessSync, chmodSync, constants, copyFileSync, realpathSync, renameSync, rmSync } from 'node:fs'
import { delimiter, dirname, extname, join, resolve } from 'node:path'
import type { Command } from 'commander'
import { makeDirectory } from '../directory.ts'
import { FatalError } from '../exit.ts'
import { writeInterpreter } from '../install/interpreter.ts'
import { LIBRARIES, PortableNode } from '../install/portable-node.ts'
import { VERSION } from '../version.ts'

/** The static one first: it starts in any image. */
const TINI_NAMES = ['tini-static', 'tini']
/**
 * With a program that its user may not read, the kernel lets no other process of that user trace what is started from it,
 * or look into its memory: a flow runs as the user that its launcher runs as.
 */
const EXECUTE_ONLY = 0o111
/** For a first start from a cold disk. */
const CHECK_TIMEOUT_MS = 60_000

export function addInstall(program: Command): void {
  program
    .command('install')
    .description("copy tini, node and this program to where LangFlow's container starts them from")
    .argument('<dir>', 'a directory on a volume that both containers mount')
    .action((dir: string) => {
      const target = resolve(dir)
      install(target, { program: process.argv[1] as string, path: process.env.PATH ?? '' })
      process.stdout.write(
        `installed tini, node ${process.version} and langflow-leader ${VERSION} in ${target}; start LangFlow with:\n` +
          `  ${target}/node --disable-sigusr1 ${target}/langflow-leader.mjs launch -- langflow run ...\n`,
      )
    })
}

/**
 * Puts the three programs into `target`, each at once or not at all, and starts them; with them the libraries that the
 * image's node has of its own. Throws `FatalError`.
 */
function install(target: string, { program, path }: { program: string; path: string }): void {
  const bundle = realpathSync(program)
  if (extname(bundle) === '.ts') {
    throw new FatalError(
      'install copies the built program, and this one runs from its source: run npm run build, then node dist/langflow-leader.mjs install DIR',
    )
  }
  const tini = findTini([...path.split(delimiter), dirname(process.execPath)])
  const portable = readNode(process.execPath)
  const loader = portable?.loaderIn(target)
  try {
    makeDirectory(target)
    if (portable) makeDirectory(join(target, LIBRARIES))
    for (const [name, library] of portable?.libraries ?? []) replace(library, join(target, LIBRARIES, name))
    replace(tini, join(target, 'tini'))
    replace(process.execPath, join(target, 'node'), (draft) => {
      if (loader) writeInterpreter(draft, loader)
      chmodSync(draft, EXECUTE_ONLY)
    })
    replace(bundle, join(target, 'langflow-leader.mjs'))
  } catch (error) {
    throw new FatalError(`cannot write to ${target}: ${reasonOf(error as NodeJS.ErrnoException)}`, {
      cause: error,
    })
  }
  check(target)
}

function readNode(node: string): PortableNode | undefined {
  try {
    return PortableNode.of(node)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error
    throw new FatalError(
      `${node} may be executed and not read, as a copy of install's is: install from the image, or as root`,
    )
  }
}

function findTini(directories: readonly string[]): string {
  const absolute = directories.filter((directory) => directory.startsWith('/'))
  const places = TINI_NAMES.flatMap((name) => absolute.map((directory) => join(directory, name)))
  const found = places.find(isExecutable)
  if (found !== undefined) return found
  throw new FatalError(
    'tini is not installed: put tini-static on the PATH (Debian: apt-get install tini), or use the image, which has it',
  )
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Whoever starts the old file meanwhile gets the whole old file. */
function replace(source: string, target: string, prepare?: (draft: string) => void): void {
  const draft = `${target}.new`
  try {
    // What an install that was killed left may not be writable.
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

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case 'EACCES':
    case 'EPERM':
      return `user ${process.getuid?.()} may not; mount a volume that it can write to (in a pod: set fsGroup)`
    case 'EROFS':
      return 'it is read-only; mount a volume there, without readOnly in this container'
    case 'ENOSPC':
      return 'there is no space left; it takes 130 MB'
    case 'ENOENT':
      return 'there can be no directory in that place; name another one'
    case 'EEXIST':
    case 'ENOTDIR':
      return 'it is not a directory; name another one'
    default:
      return `${message}; name another directory`
  }
}

/** Starts what was copied, in the way that LangFlow's container will. */
function check(target: string): void {
  const at = (name: string) => join(target, name)
  // As a subreaper (-s), since here it is not PID 1. A NODE_OPTIONS of this container says nothing about the other one.
  const args = ['-s', '--', at('node'), at('langflow-leader.mjs'), '--version']
  try {
    const version = execFileSync(at('tini'), args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {},
      timeout: CHECK_TIMEOUT_MS,
    }).trim()
    if (version === VERSION) return
    throw new FatalError(
      `${target} has version ${version} instead of ${VERSION}: does another install write to it?`,
    )
  } catch (error) {
    if (error instanceof FatalError) throw error
    const { code, stderr, message } = error as NodeJS.ErrnoException & { stderr?: string }
    if (code === 'EACCES') {
      throw new FatalError(
        `${target} is mounted noexec: name a directory on a volume from which programs may start`,
      )
    }
    const said = (stderr || message).trim().split('\n')[0]
    throw new FatalError(`what was installed in ${target} does not start: ${said}`, { cause: error })
  }
}
