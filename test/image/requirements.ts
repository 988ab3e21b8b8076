import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readInterpreter } from '../../agent/install/interpreter.ts'

/** From Debian's busybox-static: all that the images have in which the tests start what was installed. */
export const BUSYBOX = '/bin/busybox'

/** Throws one sentence that says what this machine lacks to build the image and to start it. */
export function requireTools(): void {
  const has = (command: string) => spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined
  const missing = ['buildah', 'runc', 'unshare', 'openssl'].filter((command) => !has(command))
  if (!existsSync(BUSYBOX) || readInterpreter(BUSYBOX) !== undefined) missing.push('busybox-static')
  if (process.getuid?.() !== 0) missing.unshift('root')
  if (missing.length > 0)
    throw new Error(
      `the tests of the image need ${missing.join(', ')} (Debian: apt-get install buildah runc util-linux openssl busybox-static)`,
    )
}
