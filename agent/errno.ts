const NO_PERMISSION = 'permission denied'
const NO_DIRECTORY = 'a part of the path is not a directory'
const OVERLOADED = 'too many processes or too little memory'

const REASONS: Readonly<Record<string, string>> = {
  E2BIG: 'the arguments and the environment are too long',
  EACCES: NO_PERMISSION,
  EADDRINUSE: 'another program has the port',
  EADDRNOTAVAIL: 'this machine does not have the address',
  EAGAIN: OVERLOADED,
  ECONNREFUSED: 'no program listens there',
  EEXIST: NO_DIRECTORY,
  EISDIR: 'it is a directory',
  ELOOP: 'the path has a loop of symlinks',
  ENOENT: 'it does not exist',
  ENOEXEC: 'it is neither a program for this machine nor a script with a "#!" line',
  ENOMEM: OVERLOADED,
  ENOSPC: 'there is no space left',
  ENOTDIR: NO_DIRECTORY,
  EPERM: NO_PERMISSION,
  EROFS: 'the file system is read-only',
}

/**
 * The reason of a system call's error, as the end of a sentence. `remedies`: what to do about a code at this place, instead of
 * the usual reason.
 */
export function reasonOf(error: unknown, remedies: Readonly<Record<string, string>> = {}): string {
  const { code = '', message } = error as NodeJS.ErrnoException
  return remedies[code] ?? REASONS[code] ?? message
}
