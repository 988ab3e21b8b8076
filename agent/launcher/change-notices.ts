import { type FSWatcher, watch } from 'node:fs'
import { statfs } from 'node:fs/promises'

/**
 * File systems that no other machine or program changes, by statfs(2): ext, XFS, Btrfs, tmpfs, overlayfs, ramfs, F2FS,
 * ZFS.
 */
const LOCAL = [0xef53, 0x58465342, 0x9123683e, 0x1021994, 0x794c7630, 0x858458f6, 0xf2f52010, 0x2fc12fc1]

/** Adds watchers (inotify). Resolves to whether the kernel sends a notice of each change in these directories. */
export async function watchAll(
  directories: Iterable<string>,
  watchers: FSWatcher[],
  changed: () => void,
): Promise<boolean> {
  try {
    for (const directory of directories) {
      if (!LOCAL.includes((await statfs(directory)).type)) return false
      watchers.push(watch(directory, { persistent: false }, changed).on('error', () => {}))
    }
    return true
  } catch {
    // The kernel's limit is reached, or the directory is gone.
    return false
  }
}
