import { type BigIntStats, statSync } from 'node:fs'

/** A text that differs if a file was changed or replaced. */
export function signatureOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(':')
}

/** The signature of the file at this path. If there is none, the code of the error, such as `ENOENT`. */
export function fileSignature(path: string): string {
  try {
    return signatureOf(statSync(path, { bigint: true }))
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code)
  }
}
