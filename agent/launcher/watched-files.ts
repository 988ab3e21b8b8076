import { createHash } from 'node:crypto'
import { type BigIntStats, constants } from 'node:fs'
import { lstat, open, opendir, stat } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { faultOfFlow } from './flow-faults.ts'

const FLOWS_DIGITS = 12
const MOST_FILES = 10_000
const MOST_BYTES = 256 * 1024 * 1024
/** Parsing blocks the deadman's loop. A larger flow is not checked. */
const MOST_FLOW_BYTES = 4 * 1024 * 1024
/** Between two chunks, all other work has its turn. */
const CHUNK_BYTES = 128 * 1024
/** If they hang, half of Node's threads for files are left. */
const AT_ONCE = 2
/** The kubelet's own names in a volume differ from node to node, and so does the metadata of git-sync. */
const LEFT_OUT = /^(\.\.|\.git$)/

interface File {
  /** Of the metadata: it differs if the file has changed. */
  readonly state: string
  readonly digest: string
  /** Why LangFlow would not start because of this file if it is a flow, in one sentence. `null`: no known reason. */
  readonly fault: string | null
}

/** Reads files for their digests, and only those again whose metadata has changed. */
export class WatchedFiles {
  private known: ReadonlyMap<string, File> = new Map()
  private files = new Map<string, BigIntStats>()
  private directories = new Set<string>()
  private entries = 0
  private bytes = 0n
  /** The path that is being examined. */
  at = ''
  /** The first file that was changed, added or removed since the last look. `null`: none was. */
  changed: string | null = null

  /**
   * Reads everything below the paths, and the flows. Calls `found` with the directories in which a file, or a link on
   * the way to one, may be replaced. Rejects with one sentence if a file cannot be read, or changes in the meantime.
   */
  async look(
    paths: readonly string[],
    flowsPath: string | null,
    found: (directories: Iterable<string>) => Promise<void>,
  ) {
    this.files = new Map()
    this.directories = new Set()
    this.entries = 0
    this.bytes = 0n
    this.changed = null
    for (const path of paths) await this.addRoot(path, false)
    if (flowsPath !== null && !this.directories.has(flowsPath)) {
      await this.addRoot(flowsPath, true)
      if (!this.directories.has(flowsPath))
        throw new Error(`LangFlow would not start: ${flowsPath} is not a directory`)
    }
    await found(this.directories)
    const known = new Map<string, File>()
    for (const [path, seen] of this.files) {
      const last = this.known.get(path)
      this.at = path
      known.set(path, last?.state === stateOf(seen) ? last : await read(path, seen))
    }
    const all = [...known.keys(), ...this.known.keys()]
    this.changed = all.find((path) => known.get(path) !== this.known.get(path)) ?? null
    this.known = known
    return contentOf(paths, flowsPath, [...known])
  }

  /** `flows`: only the `*.json` in the directory count, as for LangFlow. */
  private async addRoot(root: string, flows: boolean): Promise<void> {
    this.at = root
    try {
      for (let at = root; at !== dirname(at); at = dirname(at))
        if (!(await lstat(at)).isDirectory()) this.directories.add(dirname(at))
      await this.add(root, await stat(root, { bigint: true }), flows, [])
    } catch (error) {
      const { code, path = this.at, message } = error as NodeJS.ErrnoException
      if (code === 'ELOOP') throw new Error(`${root} has a loop of symlinks at ${path}`)
      throw code === undefined ? new Error(`${root} ${message}`) : error
    }
  }

  /** Adds a file, or a directory with all below it. Symlinks are followed. `above`: the identities of its parents. */
  private async add(
    path: string,
    seen: BigIntStats,
    flows: boolean,
    above: readonly string[],
  ): Promise<void> {
    if (seen.isFile()) {
      this.files.set(path, seen)
      this.bytes += seen.size
      if (this.bytes > MOST_BYTES) throw new Error(`has more than ${MOST_BYTES / 2 ** 20} MiB`)
    }
    if (!seen.isDirectory() || (flows && above.length > 0)) return
    const identity = `${seen.dev} ${seen.ino}`
    if (above.includes(identity)) throw new Error(`has a loop of symlinks at ${path}`)
    this.directories.add(path)
    const names: string[] = []
    for await (const { name } of await opendir(path, { bufferSize: 1024 })) {
      if (++this.entries > MOST_FILES) throw new Error(`has more than ${MOST_FILES} files`)
      if (!LEFT_OUT.test(name) && (!flows || extname(name) === '.json')) names.push(join(path, name))
    }
    names.sort()
    while (names.length > 0) {
      const batch = names.splice(0, AT_ONCE)
      this.at = batch[0] as string
      const found = await Promise.all(batch.map((one) => statOf(one, flows)))
      for (const [n, one] of found.entries())
        if (one !== null) await this.add(batch[n] as string, one, flows, [...above, identity])
    }
  }
}

async function read(path: string, seen: BigIntStats): Promise<File> {
  const hash = createHash('sha256')
  const isChecked = extname(path) === '.json' && seen.size <= MOST_FLOW_BYTES
  const flow: Buffer[] = []
  // The file may have become a pipe or a device, which could block or never end.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const options = { highWaterMark: CHUNK_BYTES, end: MOST_BYTES, autoClose: false }
  for await (const chunk of file.createReadStream(options)) {
    hash.update(chunk)
    if (isChecked) flow.push(chunk)
  }
  const state = stateOf(await file.stat({ bigint: true }))
  if (state !== stateOf(seen)) throw new Error(`${path} changes while it is read`)
  const fault = isChecked ? faultOfFlow(path, Buffer.concat(flow)) : null
  return { state, digest: hash.digest('hex'), fault }
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

function stateOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
}
