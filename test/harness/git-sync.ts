import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)
const PERIOD_MS = 1_000

interface GitSyncOptions {
  /** The URL of the repository. */
  readonly repo: string
  /** A branch or a tag. */
  readonly ref: string
  readonly root: string
}

interface GitSync {
  /** The commit in `current`. */
  commit(): string | null
  stop(): Promise<unknown>
}

/**
 * Keeps the link `current` in `root` at a checkout of the newest commit of a ref: with the program GIT_SYNC_BIN if that is
 * set, else in the same steps as git-sync takes.
 */
export function startGitSync(options: GitSyncOptions): GitSync {
  const link = join(options.root, 'current')
  const commit = () => (existsSync(link) ? basename(readlinkSync(link)) : null)
  const program = process.env.GIT_SYNC_BIN
  return { commit, stop: program === undefined ? follow(options, commit) : startProgram(program, options) }
}

function startProgram(program: string, { repo, ref, root }: GitSyncOptions): GitSync['stop'] {
  const flags = [
    `--repo=${repo}`,
    `--ref=${ref}`,
    `--root=${root}`,
    '--link=current',
    `--period=${PERIOD_MS}ms`,
  ]
  const child = spawn(program, flags, { stdio: 'ignore', env: { ...process.env, HOME: root } })
  const exited = once(child, 'exit')
  return async () => {
    child.kill('SIGTERM')
    await exited
  }
}

function follow({ repo, ref, root }: GitSyncOptions, commit: GitSync['commit']): GitSync['stop'] {
  const ending = new AbortController()
  const git = async (...args: string[]) => (await run('git', args, { cwd: root })).stdout.trim()
  const sync = async () => {
    const before = commit()
    const newest = (await git('ls-remote', repo, ref)).split('\t')[0] as string
    if (newest === before) return
    await git('fetch', '--depth=1', repo, ref)
    await git('worktree', 'add', '--force', '--detach', `.worktrees/${newest}`, 'FETCH_HEAD')
    symlinkSync(join('.worktrees', newest), join(root, 'next'))
    renameSync(join(root, 'next'), join(root, 'current'))
    if (before !== null) rmSync(join(root, '.worktrees', before), { recursive: true })
  }
  const loop = async () => {
    mkdirSync(root, { recursive: true })
    await git('init', '--quiet')
    while (!ending.signal.aborted) {
      await sync()
      await sleep(PERIOD_MS, null, { signal: ending.signal }).catch(() => {})
    }
  }
  const ended = loop()
  return () => {
    ending.abort()
    return ended
  }
}
