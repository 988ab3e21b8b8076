import { getSystemErrorMessage } from 'node:util'

/** The reason of a system call's error, as the end of a sentence. `remedies`: what to do instead, by error code. */
export function reasonOf(error: unknown, remedies: Readonly<Record<string, string>> = {}): string {
  const { code = '', errno, message } = error as NodeJS.ErrnoException
  return remedies[code] ?? (errno === undefined ? message : getSystemErrorMessage(errno))
}
