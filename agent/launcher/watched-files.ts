import { createHash } from 'node:crypto'
import { type BigIntStats, constants } from 'node:fs'
import { open, opendir, stat } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { reasonOf } from '../errno.ts'
import type { Fault } from '../fault.ts'
import { signatureOf } from '../file-signature.ts'

const MOST_FILES = 10_000
const MOST_BYTES = 256 * 1024 * 1024
/** Parsing blocks the deadman's loop. A larger flow is not checked. */
const MOST_FLOW_BYTES = 4 * 1024 * 1024
const CHUNK_BYTES = 128 * 1024 // between two, all other work has its turn
/** The kubelet's own names in a volume differ from node to node, and so does the metadata of git-sync. */
const LEFT_OUT = /^(\.\.|\.git$)/

/** `fault`: why LangFlow would not start because of it. */
type File = { readonly signature: string; readonly digest: string; readonly fault: Fault }

export interface FoundFiles {
  /** The place of each file below the path that the user named, with its digest. */
  readonly files: readonly string[]
  readonly flows: string | null
  readonly fault: Fault
}

/** Reads files for their digests, and only those again whose metadata has changed. */
export class WatchedFiles {
  private files: ReadonlyMap<string, File> = new Map()
  private found = new Map<string, BigIntStats>()
  private directories = new Set<string>()
  private entries = 0
  private bytes = 0n
  private at = ''

  /** Reads everything below the paths, and the flows. Rejects with one sentence if a file cannot be read. */
  async look(paths: readonly string[], flowsPath: string | null): Promise<FoundFiles> {
    try {
      await this.find(paths, flowsPath)
      const files = new Map<string, File>()
      for (const [path, stats] of this.found) {
        const last = this.files.get(path)
        this.at = path
        files.set(path, last?.signature === signatureOf(stats) ? last : await read(path, stats))
      }
      this.files = files
      return contentOf(paths, flowsPath, [...files])
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error
      throw new Error(`${this.at} cannot be read: ${reasonOf(error)}`)
    }
  }

  private async find(paths: readonly string[], flowsPath: string | null): Promise<void> {
    this.found = new Map()
    this.directories = new Set()
    this.entries = 0
    this.bytes = 0n
    for (const path of paths) await this.add(path, false, true)
    if (flowsPath === null || this.directories.has(flowsPath)) return
    await this.add(flowsPath, true, true)
    if (!this.directories.has(flowsPath))
      throw new Error(`LangFlow would not start: ${flowsPath} is not a directory`)
  }

  /**
   * Adds a file, or a directory with all below it. Symlinks are followed: the kernel ends a loop of them (ELOOP).
   * `isFlows`: only the `*.json` in the directory count, as for LangFlow. A root must lead to a file.
   */
  private async add(path: string, isFlows: boolean, isRoot = false): Promise<void> {
    this.at = path
    const stats = isRoot ? await stat(path, { bigint: true }) : await statOf(path, isFlows)
    if (stats?.isFile()) {
      this.found.set(path, stats)
      this.bytes += stats.size
      if (this.bytes > MOST_BYTES) throw new Error(`more than ${MOST_BYTES / 2 ** 20} MiB, up to ${path}`)
    }
    if (!stats?.isDirectory() || (isFlows && !isRoot)) return
    this.directories.add(path)
    const names: string[] = []
    for await (const { name } of await opendir(path, { bufferSize: 1024 })) {
      if (++this.entries > MOST_FILES) throw new Error(`more than ${MOST_FILES} files, up to ${path}`)
      if (!LEFT_OUT.test(name) && (!isFlows || extname(name) === '.json')) names.push(join(path, name))
    }
    for (const one of names.sort()) await this.add(one, isFlows)
  }
}

async function read(path: string, stats: BigIntStats): Promise<File> {
  const hash = createHash('sha256')
  const isChecked = extname(path) === '.json' && stats.size <= MOST_FLOW_BYTES
  // The file may have become a pipe or a device, which could block or never end.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const options = { highWaterMark: CHUNK_BYTES, start: 0, end: MOST_BYTES, autoClose: false }
  for await (const chunk of file.createReadStream(options)) hash.update(chunk)
  const fault = isChecked ? faultOfFlow(path, await file.readFile()) : null
  const signature = signatureOf(await file.stat({ bigint: true }))
  if (signature !== signatureOf(stats)) throw new Error(`${path} changes while it is read`)
  return { signature, digest: hash.digest('hex'), fault }
}

function contentOf(
  paths: readonly string[],
  flowsPath: string | null,
  all: readonly [string, File][],
): FoundFiles {
  const files = paths.flatMap((root, n) => {
    const below = all.filter(([path]) => path === root || path.startsWith(`${root}/`))
    return below.map(([path, { digest }]) => `${n} ${path.slice(root.length)} ${digest}`)
  })
  const flows = all.filter(([path]) => dirname(path) === flowsPath && extname(path) === '.json')
  // `sha256sum -- *.json | sha256sum | cut -c1-12`, with the names in the order of the C locale
  const sums = flows.map(([path, { digest }]) => `${digest}  ${basename(path)}\n`)
  const digest = createHash('sha256').update(sums.join('')).digest('hex').slice(0, 12)
  const [fault = null] = flows.flatMap(([, { fault }]) => fault ?? [])
  return { files, flows: flowsPath === null ? null : digest, fault }
}

/** Nothing for a symlink to nothing. LangFlow also ignores a circular one. */
async function statOf(path: string, isFlows: boolean): Promise<BigIntStats | null> {
  try {
    return await stat(path, { bigint: true })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || (code === 'ELOOP' && isFlows)) return null
    throw error
  }
}

/** LangFlow 1.13 aborts its start if a flow is anything else. The sentence contains no text of the flow. */
export function faultOfFlow(path: string, bytes: Uint8Array): Fault {
  const fault = (how: string) => `LangFlow would not start: ${path} ${how}`
  try {
    const flow = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
    return typeof flow?.name === 'string' ? null : fault('is not a JSON object with a "name"')
  } catch {
    return fault('is not JSON in UTF-8 without a byte order mark')
  }
}
