import { type FSWatcher, watch } from 'node:fs'
import { statfs } from 'node:fs/promises'

/**
 * File systems that no other machine or program changes, by statfs(2): ext, XFS, Btrfs, tmpfs, overlayfs, ramfs, F2FS,
 * ZFS.
 */
const LOCAL = [0xef53, 0x58465342, 0x9123683e, 0x1021994, 0x794c7630, 0x858458f6, 0xf2f52010, 0x2fc12fc1]

/** The kernel's notices of changes in directories (inotify). */
export class ChangeNotices {
  private readonly changed: () => void
  private watchers: FSWatcher[] = []

  constructor(changed: ChangeNotices['changed']) {
    this.changed = changed
  }

  /** Watches these directories, and no others. Resolves to whether a notice of each change arrives. */
  async follow(directories: Iterable<string>): Promise<boolean> {
    const before = this.watchers
    this.watchers = []
    try {
      for (const directory of directories) {
        if (!LOCAL.includes((await statfs(directory)).type)) return false
        const watcher = watch(directory, { persistent: false }, this.changed)
        this.watchers.push(watcher.on('error', () => {}))
      }
      return true
    } catch {
      // The kernel's limit is reached, or the directory is gone.
      return false
    } finally {
      for (const watcher of before) watcher.close()
    }
  }

  close(): void {
    for (const watcher of this.watchers) watcher.close()
  }
}
