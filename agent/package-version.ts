/** A Python package's version in its normal form (PEP 440), as its metadata has it. What follows a `+` does not count. */
const VERSION =
  /^(?:(\d+)!)?(\d+(?:\.\d+)*)(?:(a|b|rc)(\d+))?(?:\.post(\d+))?(?:\.dev(\d+))?(?:\+[a-z\d]+(?:\.[a-z\d]+)*)?$/
const LONGEST = 64
const PHASES = ['a', 'b', 'rc']

export function isVersion(text: string): boolean {
  return partsOf(text) !== null
}

/** Whether a version comes before another one; of what is none nothing can be said: `false`. */
export function isOlder(a: string, b: string): boolean {
  const [first, second] = [partsOf(a), partsOf(b)]
  if (first === null || second === null) return false
  const release = compare(first.release, second.release)
  return (release || compare(first.rest, second.rest)) < 0
}

function partsOf(text: string): { release: number[]; rest: number[] } | null {
  const found = text.length > LONGEST ? null : VERSION.exec(text)
  if (found === null) return null
  const [, epoch = '0', release = '', phase, pre = '0', post = '-1', dev = 'Infinity'] = found
  // A development release comes before whatever it leads to: before each phase where it is of the release itself.
  const final = found[6] !== undefined && found[5] === undefined ? -1 : PHASES.length
  const rank = phase === undefined ? final : PHASES.indexOf(phase)
  return {
    release: [epoch, ...release.split('.')].map(Number),
    rest: [rank, ...[pre, post, dev].map(Number)],
  }
}

/** What one of them lacks at its end counts as zero: 1.13 is 1.13.0. */
function compare(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const [one = 0, other = 0] = [a[i], b[i]]
    if (one !== other) return one < other ? -1 : 1
  }
  return 0
}
