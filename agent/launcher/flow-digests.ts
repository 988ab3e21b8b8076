import { createHash, createHmac, type Hash } from 'node:crypto'
import { type BigIntStats, constants } from 'node:fs'
import { open, opendir, stat } from 'node:fs/promises'
import { hostname, networkInterfaces } from 'node:os'
import { extname, join } from 'node:path'
import type { Clock, Timer } from '../clock.ts'
import type { Digests } from '../link/link-messages.ts'
import { fernetKey, standbyEnvironment } from './workload-environment.ts'

/** LangFlow loads each `*.json` in this directory at each start, but not those in its subdirectories. */
const FLOWS_PATH = 'LANGFLOW_LOAD_FLOWS_PATH'
const FLOWS_DIGITS = 12
const SECRET_DIGITS = 8
const INPUTS_DIGITS = 16
/** The text that the key is applied to. Any text would do that is the same on all replicas. */
const SECRET_TEXT = 'langflow-leader: is it the same key on all replicas?'
const LOOK_EVERY_MS = 60_000
/** Beyond these limits, there is no digest of the flows: the launcher has more urgent work. */
const MOST_ENTRIES = 1_024
const MOST_BYTES = 64 * 1024 * 1024
/** Between two chunks, all other work has its turn. */
const CHUNK_BYTES = 128 * 1024

export interface DigestWatchOptions {
  /** LangFlow's environment. */
  readonly env: NodeJS.ProcessEnv
  readonly clock: Pick<Clock, 'after'>
  /** Called with the first digests, and after each change. */
  readonly changed: (digests: Digests) => void
}

/**
 * Short digests of the settings that must be equal on all replicas. The flows are read again only if their metadata has
 * changed, one chunk after the other and never twice at a time: a slow volume delays only the digest.
 */
export class DigestWatch {
  private readonly options: DigestWatchOptions
  private readonly flows = new FlowFiles()
  private looking = false
  private again = false
  private timer: Timer | null = null
  private closed = false
  /** The current digests. `null`: not computed yet. */
  found: Digests | null = null

  constructor(options: DigestWatchOptions) {
    this.options = options
  }

  /** Looks now, and then each minute. */
  look(): void {
    if (this.closed) return
    this.again = this.looking
    if (!this.looking) void this.read()
  }

  close(): void {
    this.closed = true
    this.timer?.cancel()
  }

  private async read(): Promise<void> {
    const { env, clock, changed } = this.options
    this.looking = true
    this.timer?.cancel()
    const directory = env[FLOWS_PATH]
    const flows = directory ? await this.flows.digest(directory).catch(() => null) : null
    this.looking = false
    if (this.closed) return
    const found = { flows, secretKey: digestOfSecretKey(env), inputs: digestOfInputs(env, flows) }
    if (this.found?.inputs !== found.inputs || this.found?.flows !== flows) {
      this.found = found
      changed(found)
    }
    if (this.again) this.look()
    else this.timer = clock.after(LOOK_EVERY_MS, () => this.look())
  }
}

/**
 * Reveals only whether two replicas have the same key. `null`: there is no key, or not one of 32 bytes, since a
 * password could be guessed from its digest.
 */
export function digestOfSecretKey({ LANGFLOW_SECRET_KEY: key = '' }: NodeJS.ProcessEnv): string | null {
  return keyed(key, SECRET_TEXT)?.slice(0, SECRET_DIGITS) ?? null
}

/**
 * Shows whether two replicas start LangFlow from the same environment and flows, and reveals nothing of either: it is
 * keyed with the secret key, and is `null` without one of 32 bytes. Variables that name the pod itself are left out,
 * because they differ in each.
 */
export function digestOfInputs(env: NodeJS.ProcessEnv, flows: string | null): string | null {
  const addresses = Object.values(networkInterfaces()).flatMap(
    (all) => all?.map(({ address }) => address) ?? [],
  )
  const ofPod = new Set([hostname(), ...addresses])
  const given = Object.entries(standbyEnvironment(env)).filter(
    ([name, value]) => !/^(HOSTNAME|POD_(NAME|UID|IP))$/.test(name) && !ofPod.has(value ?? ''),
  )
  const text = JSON.stringify([given.sort(([a], [b]) => (a < b ? -1 : 1)), flows])
  return keyed(env.LANGFLOW_SECRET_KEY ?? '', text)?.slice(0, INPUTS_DIGITS) ?? null
}

function keyed(key: string, text: string): string | null {
  const bytes = fernetKey(key)
  return bytes === null ? null : createHmac('sha256', bytes).update(text).digest('hex')
}

/** The flows in a directory: `sha256sum -- *.json | sha256sum | cut -c1-12`, with the names in the order of the C locale. */
class FlowFiles {
  private last = { signature: '', digest: '' }

  /** Rejects if a file cannot be read or the files are too large. */
  async digest(directory: string): Promise<string> {
    const files = await this.files(directory)
    const signature = JSON.stringify([directory, files.map(({ name, seen }) => [name, signatureOf(seen)])])
    if (signature === this.last.signature) return this.last.digest
    const hash = createHash('sha256')
    let room = MOST_BYTES
    for (const { name } of files) {
      const content = createHash('sha256')
      room -= await addContent(content, join(directory, name), room)
      hash.update(`${content.digest('hex')}  ${name}\n`)
    }
    const digest = hash.digest('hex').slice(0, FLOWS_DIGITS)
    this.last = { signature, digest }
    return digest
  }

  /** The files that LangFlow would load: it follows links, but loads only regular files. */
  private async files(directory: string): Promise<{ name: string; seen: BigIntStats }[]> {
    const names: string[] = []
    let entries = 0
    for await (const { name } of await opendir(directory)) {
      if (++entries > MOST_ENTRIES) throw new Error('too many files')
      if (extname(name) === '.json') names.push(name)
    }
    const files = []
    let bytes = 0n
    for (const name of names.sort()) {
      const seen = await stat(join(directory, name), { bigint: true }).catch(nothingThere)
      if (!seen?.isFile()) continue
      bytes += seen.size
      if (bytes > MOST_BYTES) throw new Error('too large')
      files.push({ name, seen })
    }
    return files
  }
}

/** A broken or circular link. */
function nothingThere(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT' || error.code === 'ELOOP') return null
  throw error
}

function signatureOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
}

/** Resolves to the number of bytes. Rejects if there are more than `room`. */
async function addContent(hash: Hash, path: string, room: number): Promise<number> {
  // The file may have become a pipe, on which a plain open would wait for a writer.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  let total = 0
  for await (const chunk of file.createReadStream({ highWaterMark: CHUNK_BYTES })) {
    total += chunk.length
    if (total > room) throw new Error('too large')
    hash.update(chunk)
  }
  return total
}
