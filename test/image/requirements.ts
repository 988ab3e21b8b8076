import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readInterpreter } from '../../agent/install/interpreter.ts'

/** The program of Debian's busybox-static: the only file of the images in which tests start the installed program. */
export const BUSYBOX = '/bin/busybox'

/** Throws if the machine lacks tools to build and start the image. */
export function requireTools(): void {
  const has = (command: string) => spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined
  const missing = ['buildah', 'runc', 'unshare'].filter((command) => !has(command))
  if (!existsSync(BUSYBOX) || readInterpreter(BUSYBOX) !== undefined) missing.push('busybox-static')
  if (process.getuid?.() !== 0) missing.unshift('root')
  if (missing.length > 0)
    throw new Error(
      `the image tests need ${missing.join(', ')} (Debian: apt-get install buildah runc util-linux busybox-static)`,
    )
}
