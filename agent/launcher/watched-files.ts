import { createHash } from 'node:crypto'
import { type BigIntStats, constants } from 'node:fs'
import { open, opendir, stat } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { signatureOf } from '../file-signature.ts'
import { faultOfFlow } from './flow-faults.ts'

const FLOWS_DIGITS = 12
const MOST_FILES = 10_000
const MOST_BYTES = 256 * 1024 * 1024
/** Parsing blocks the deadman's loop. A larger flow is not checked. */
const MOST_FLOW_BYTES = 4 * 1024 * 1024
/** Between two chunks, all other work has its turn. */
const CHUNK_BYTES = 128 * 1024
/** The kubelet's own names in a volume differ from node to node, and so does the metadata of git-sync. */
const LEFT_OUT = /^(\.\.|\.git$)/

interface File {
  readonly signature: string
  readonly digest: string
  /** Why LangFlow would not start because of this file if it is a flow, in one sentence. `null`: no known reason. */
  readonly fault: string | null
}

/** Reads files for their digests, and only those again whose metadata has changed. */
export class WatchedFiles {
  private last: ReadonlyMap<string, File> = new Map()
  private files = new Map<string, BigIntStats>()
  private directories = new Set<string>()
  private entries = 0
  private bytes = 0n
  private root = ''
  /** The path that is being examined. */
  at = ''

  /** Reads everything below the paths, and the flows. Rejects with one sentence if a file cannot be read. */
  async look(paths: readonly string[], flowsPath: string | null) {
    try {
      await this.find(paths, flowsPath)
      const found = new Map<string, File>()
      for (const [path, seen] of this.files) {
        const last = this.last.get(path)
        this.at = path
        found.set(path, last?.signature === signatureOf(seen) ? last : await read(path, seen))
      }
      this.last = found
      return contentOf(paths, flowsPath, [...found])
    } catch (error) {
      const { code, path = this.at } = error as NodeJS.ErrnoException
      if (code === undefined) throw error
      if (code === 'ELOOP') throw this.faultOf(`has a loop of symlinks at ${path}`)
      throw new Error(`${path} ${code === 'ENOENT' ? 'does not exist' : `cannot be read: ${code}`}`)
    }
  }

  private async find(paths: readonly string[], flowsPath: string | null): Promise<void> {
    this.files = new Map()
    this.directories = new Set()
    this.entries = 0
    this.bytes = 0n
    for (const path of paths) await this.addRoot(path, false)
    if (flowsPath === null || this.directories.has(flowsPath)) return
    await this.addRoot(flowsPath, true)
    if (!this.directories.has(flowsPath))
      throw new Error(`LangFlow would not start: ${flowsPath} is not a directory`)
  }

  /** `flows`: only the `*.json` in the directory count, as for LangFlow. */
  private async addRoot(root: string, flows: boolean): Promise<void> {
    this.root = root
    this.at = root
    // Unlike a link below it, it must lead to a file.
    await stat(root)
    await this.add(root, flows, [])
  }

  /** Adds a file, or a directory with all below it. Symlinks are followed. `above`: the identities of its parents. */
  private async add(path: string, flows: boolean, above: readonly string[]): Promise<void> {
    this.at = path
    const seen = await statOf(path, flows)
    if (seen?.isFile()) {
      this.files.set(path, seen)
      this.bytes += seen.size
      if (this.bytes > MOST_BYTES) throw this.faultOf(`has more than ${MOST_BYTES / 2 ** 20} MiB`)
    }
    if (!seen?.isDirectory() || (flows && above.length > 0)) return
    const identity = `${seen.dev} ${seen.ino}`
    if (above.includes(identity)) throw this.faultOf(`has a loop of symlinks at ${path}`)
    this.directories.add(path)
    const names: string[] = []
    for await (const { name } of await opendir(path, { bufferSize: 1024 })) {
      if (++this.entries > MOST_FILES) throw this.faultOf(`has more than ${MOST_FILES} files`)
      if (!LEFT_OUT.test(name) && (!flows || extname(name) === '.json')) names.push(join(path, name))
    }
    for (const one of names.sort()) await this.add(one, flows, [...above, identity])
  }

  private faultOf(problem: string): Error {
    return new Error(`${this.root} ${problem}`)
  }
}

async function read(path: string, seen: BigIntStats): Promise<File> {
  const hash = createHash('sha256')
  const isChecked = extname(path) === '.json' && seen.size <= MOST_FLOW_BYTES
  // The file may have become a pipe or a device, which could block or never end.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const options = { highWaterMark: CHUNK_BYTES, start: 0, end: MOST_BYTES, autoClose: false }
  for await (const chunk of file.createReadStream(options)) hash.update(chunk)
  const fault = isChecked ? faultOfFlow(path, await file.readFile()) : null
  const signature = signatureOf(await file.stat({ bigint: true }))
  if (signature !== signatureOf(seen)) throw new Error(`${path} changes while it is read`)
  return { signature, digest: hash.digest('hex'), fault }
}

/** The digest of each file by its place below the path that the user named, the digest of the flows, and their fault. */
function contentOf(paths: readonly string[], flowsPath: string | null, all: readonly [string, File][]) {
  const files = paths.flatMap((root, n) => {
    const below = all.filter(([path]) => path === root || path.startsWith(`${root}/`))
    return below.map(([path, { digest }]) => `${n} ${path.slice(root.length)} ${digest}`)
  })
  const flows = all.filter(([path]) => dirname(path) === flowsPath && extname(path) === '.json')
  // `sha256sum -- *.json | sha256sum | cut -c1-12`, with the names in the order of the C locale
  const sums = flows.map(([path, { digest }]) => `${digest}  ${basename(path)}\n`)
  const digest = createHash('sha256').update(sums.join('')).digest('hex').slice(0, FLOWS_DIGITS)
  const [fault = null] = flows.flatMap(([, { fault }]) => fault ?? [])
  return { files, flows: flowsPath === null ? null : digest, fault }
}

/** `null`: a symlink to nothing. LangFlow also ignores a circular one. */
async function statOf(path: string, flows: boolean): Promise<BigIntStats | null> {
  try {
    return await stat(path, { bigint: true })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || (code === 'ELOOP' && flows)) return null
    throw error
  }
}
