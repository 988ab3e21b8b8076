import { type FSWatcher, watch } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * File systems that no other machine or program changes, by statfs(2): ext, XFS, Btrfs, tmpfs, overlayfs, ramfs, F2FS,
 * ZFS.
 */
const LOCAL = [0xef53, 0x58465342, 0x9123683e, 0x1021994, 0x794c7630, 0x858458f6, 0xf2f52010, 0x2fc12fc1]

/** The kernel's notices of changes in directories (inotify). */
export class ChangeNotices {
  private readonly changed: (path: string) => void
  /** By path and identity. `null`: no notices. */
  private readonly watchers = new Map<string, FSWatcher | null>()
  private closed = false

  constructor(changed: ChangeNotices['changed']) {
    this.changed = changed
  }

  /** Resolves to whether a notice of each change arrives. `directories`: identities by path, as in `Walk`. */
  async follow(directories: ReadonlyMap<string, string>): Promise<boolean> {
    const wanted = new Set([...directories].map(([path, identity]) => `${path} ${identity}`))
    for (const [key, watcher] of this.watchers) {
      if (wanted.has(key)) continue
      watcher?.close()
      this.watchers.delete(key)
    }
    for (const [path, identity] of directories) {
      const key = `${path} ${identity}`
      if (!this.watchers.get(key)) this.watchers.set(key, await this.open(path))
    }
    return ![...this.watchers.values()].includes(null)
  }

  close(): void {
    this.closed = true
    for (const watcher of this.watchers.values()) watcher?.close()
  }

  private async open(directory: string): Promise<FSWatcher | null> {
    try {
      const { type } = await statfs(directory)
      if (!LOCAL.includes(type) || this.closed) return null
      const notice = (_: string, name: string | null) => this.changed(join(directory, name ?? ''))
      return watch(directory, { persistent: false }, notice).on('error', () => {})
    } catch {
      // The kernel's limit is reached, or the directory is gone.
      return null
    }
  }
}
