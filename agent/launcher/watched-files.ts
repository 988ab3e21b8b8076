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
  readonly isFlow: boolean
  /** Why LangFlow would not start because of this flow, in one sentence. `null`: no known reason. */
  readonly fault: string | null
}

/** Everything below some paths. */
class Walk {
  readonly files = new Map<string, BigIntStats>()
  /** The directories in which a file, or a link on the way to one, may be replaced. */
  readonly directories = new Set<string>()
  /** The path that is being examined. */
  at = ''
  private entries = 0
  private bytes = 0n

  /** Symlinks are followed. `flows`: only the `*.json` in the directory count, as for LangFlow. */
  async addRoot(root: string, flows: boolean): Promise<void> {
    this.at = root
    try {
      for (let at = root; at !== dirname(at); at = dirname(at))
        if (!(await lstat(at)).isDirectory()) this.directories.add(dirname(at))
      await this.add(root, await stat(root, { bigint: true }), flows, [])
    } catch (error) {
      throw new Error(sentenceOf(root, error as NodeJS.ErrnoException))
    }
  }

  /** `above`: the identities of its parents. */
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

/** Reads files for their digests, and only those again whose metadata has changed. */
export class WatchedFiles {
  private known: ReadonlyMap<string, File> = new Map()
  private walk = new Walk()
  /** The first file that was changed, added or removed since the last look. `null`: none was. */
  changed: string | null = null

  /** The path that is being examined. */
  get at(): string {
    return this.walk.at
  }

  /**
   * Reads everything below the paths, and the flows. Calls `found` with the directories. Rejects with one sentence if a
   * file cannot be read, or changes in the meantime.
   */
  async look(
    paths: readonly string[],
    flowsPath: string | null,
    found: (directories: Iterable<string>) => Promise<void>,
  ) {
    const walk = new Walk()
    this.walk = walk
    for (const path of paths) await walk.addRoot(path, false)
    const isCovered = flowsPath === null || walk.directories.has(flowsPath)
    if (!isCovered) await walk.addRoot(flowsPath, true)
    if (!isCovered && !walk.directories.has(flowsPath))
      throw new Error(`LangFlow would not start: ${flowsPath} is not a directory`)
    await found(walk.directories)
    const known = new Map<string, File>()
    for (const [path, seen] of walk.files) {
      const last = this.known.get(path)
      const isFlow = dirname(path) === flowsPath && extname(path) === '.json'
      const isSame = last?.state === stateOf(seen) && last.isFlow === isFlow
      walk.at = path
      known.set(path, isSame ? last : await read(path, seen, isFlow))
    }
    const all = [...known.keys(), ...this.known.keys()]
    this.changed = all.find((path) => known.get(path) !== this.known.get(path)) ?? null
    this.known = known
    return contentOf(paths, flowsPath, [...known])
  }
}

/** Rejects with one sentence. */
async function read(path: string, seen: BigIntStats, isFlow: boolean): Promise<File> {
  const hash = createHash('sha256')
  const isChecked = isFlow && seen.size <= MOST_FLOW_BYTES
  const flow: Buffer[] = []
  try {
    // The file may have become a pipe or a device, which could block or never end.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const options = { highWaterMark: CHUNK_BYTES, end: MOST_BYTES, autoClose: false }
    for await (const chunk of file.createReadStream(options)) {
      hash.update(chunk)
      if (isChecked) flow.push(chunk)
    }
    if (stateOf(await file.stat({ bigint: true })) !== stateOf(seen))
      throw new Error('changes while it is read')
  } catch (error) {
    throw new Error(sentenceOf(path, error as NodeJS.ErrnoException))
  }
  const fault = isChecked ? faultOfFlow(path, Buffer.concat(flow)) : null
  return { state: stateOf(seen), digest: hash.digest('hex'), isFlow, fault }
}

/** The digest of each file by its place below the path that the user named, the digest of the flows, and their fault. */
function contentOf(paths: readonly string[], flowsPath: string | null, all: readonly [string, File][]) {
  const files = paths.flatMap((root, n) =>
    all.flatMap(([path, { digest }]) =>
      isBelow(path, root) ? [`${n} ${path.slice(root.length)} ${digest}`] : [],
    ),
  )
  const flows = all.filter(([, { isFlow }]) => isFlow)
  // `sha256sum -- *.json | sha256sum | cut -c1-12`, with the names in the order of the C locale
  const sums = flows.map(([path, { digest }]) => `${digest}  ${basename(path)}\n`)
  const digest = createHash('sha256').update(sums.join('')).digest('hex').slice(0, FLOWS_DIGITS)
  const fault = flows.find(([, { fault }]) => fault !== null)?.[1].fault ?? null
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

function sentenceOf(root: string, { code, path = root, message }: NodeJS.ErrnoException): string {
  if (code === undefined) return `${root} ${message}`
  if (code === 'ENOENT') return `${path} does not exist`
  return code === 'ELOOP' ? `${root} has a loop of symlinks at ${path}` : `${path} cannot be read: ${code}`
}

export function isBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(`${root}/`)
}
