import { lt, valid } from '@renovatebot/pep440'

const LONGEST = 64

/** Whether this is the version of a Python package (PEP 440). */
export function isVersion(text: string): boolean {
  return text.length <= LONGEST && valid(text) !== null
}

/**
 * Whether a version comes before another one. `false` if one of them is not a version. A local part, which a builder
 * has added after a `+`, does not count.
 */
export function isOlder(a: string, b: string): boolean {
  return isVersion(a) && isVersion(b) && lt(publicPart(a), publicPart(b))
}

function publicPart(version: string): string {
  return version.split('+', 1)[0] as string
}
