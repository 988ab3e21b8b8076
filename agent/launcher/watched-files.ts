import { createHash } from 'node:crypto'
import { type BigIntStats, createReadStream } from 'node:fs'
import { lstat, opendir, stat } from 'node:fs/promises'
import { dirname, extname, join } from 'node:path'

const MOST_FILES = 10_000
const MOST_BYTES = 256 * 1024 * 1024
/** Between two chunks, and between two batches of files, all other work has its turn. */
const CHUNK_BYTES = 128 * 1024
const AT_ONCE = 64
/** The kubelet's own names in a volume differ from node to node, and so does the metadata of git-sync. */
const LEFT_OUT = /^(\.\.|\.git$)/

/** `flows`: only the `*.json` in the directory count, as for LangFlow. */
export interface Root {
  readonly path: string
  readonly kind: 'tree' | 'flows'
}

/** Everything below some paths, and their directories: the state of each file, the identity of each directory. */
export interface Walk {
  readonly files: ReadonlyMap<string, string>
  readonly directories: ReadonlyMap<string, string>
}

/** Rejects with one sentence. */
export async function walkOf(roots: readonly Root[]): Promise<Walk> {
  const walk = { files: new Map<string, string>(), directories: new Map<string, string>() }
  for (const root of roots) {
    try {
      // A file, or a link on the way to the root, is replaced in its directory, which may be busy with others.
      for (let at = root.path; at !== dirname(at); at = dirname(at)) {
        if ((await lstat(at)).isDirectory()) continue
        walk.directories.set(dirname(at), identityOf(await stat(dirname(at), { bigint: true })))
      }
      await addTo(walk, root, { entries: 0, bytes: 0n }, root.path, await stat(root.path, { bigint: true }))
    } catch (error) {
      throw new Error(sentenceOf(root.path, error as NodeJS.ErrnoException))
    }
  }
  return walk
}

/** Adds a file, or a directory with all below it. Symlinks are followed. `above`: the identities of its parents. */
async function addTo(
  walk: { readonly files: Map<string, string>; readonly directories: Map<string, string> },
  root: Root,
  total: { entries: number; bytes: bigint },
  path: string,
  seen: BigIntStats,
  above: readonly string[] = [],
): Promise<void> {
  if (seen.isFile()) {
    walk.files.set(path, stateOf(seen))
    total.bytes += seen.size
    if (total.bytes > MOST_BYTES) throw new Error(`has more than ${MOST_BYTES / 2 ** 20} MiB`)
  }
  if (!seen.isDirectory() || (root.kind === 'flows' && above.length > 0)) return
  const identity = identityOf(seen)
  if (above.includes(identity)) throw new Error(`has a loop of symlinks at ${path}`)
  walk.directories.set(path, identity)
  const names: string[] = []
  for await (const { name } of await opendir(path, { bufferSize: 1024 })) {
    if (++total.entries > MOST_FILES) throw new Error(`has more than ${MOST_FILES} files`)
    if (!LEFT_OUT.test(name) && (root.kind === 'tree' || extname(name) === '.json')) names.push(name)
  }
  names.sort()
  while (names.length > 0) {
    const batch = names.splice(0, AT_ONCE).map((name) => join(path, name))
    const found = await Promise.all(batch.map((one) => statOf(one, root)))
    for (const [n, one] of found.entries())
      if (one !== null) await addTo(walk, root, total, batch[n] as string, one, [...above, identity])
  }
}

/** Reads files for their digests, and only those again whose metadata has changed. */
export class WatchedFiles {
  private known = new Map<string, { readonly state: string; readonly digest: string }>()

  /** The SHA-256 of each file. Rejects with one sentence if a file cannot be read, or changes in the meantime. */
  async digests(roots: readonly Root[], { files }: Walk): Promise<ReadonlyMap<string, string>> {
    const before = this.known
    this.known = new Map()
    for (const [path, state] of files) {
      const known = before.get(path)
      const digest = known?.state === state ? known.digest : await digestOf(path)
      this.known.set(path, { state, digest })
    }
    const hasRead = [...files].some(([path, state]) => before.get(path)?.state !== state)
    const after = hasRead ? (await walkOf(roots)).files : files
    const changed = [...files, ...after].find(([path]) => files.get(path) !== after.get(path))
    if (changed !== undefined) throw new Error(`${changed[0]} changes while it is read`)
    return new Map([...this.known].map(([path, { digest }]) => [path, digest]))
  }
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES })) hash.update(chunk)
  } catch (error) {
    throw new Error(sentenceOf(path, error as NodeJS.ErrnoException))
  }
  return hash.digest('hex')
}

/** `null`: a symlink to nothing. LangFlow also ignores a circular one. */
async function statOf(path: string, { kind }: Root): Promise<BigIntStats | null> {
  try {
    return await stat(path, { bigint: true })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || (code === 'ELOOP' && kind === 'flows')) return null
    throw error
  }
}

function identityOf({ dev, ino }: BigIntStats): string {
  return `${dev} ${ino}`
}

function stateOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
}

function sentenceOf(root: string, { code, path = root, message }: NodeJS.ErrnoException): string {
  if (code === undefined) return `${root} ${message}`
  if (code === 'ENOENT') return `${path} does not exist`
  return code === 'ELOOP' ? `${root} has a loop of symlinks at ${path}` : `${path} cannot be read: ${code}`
}
