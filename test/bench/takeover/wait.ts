const LOOK_MS = 50

/** Looks each 50 ms until `holds` says yes; rejects when that takes too long. */
export async function eventually(
  what: string,
  withinMs: number,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`${what}: not within ${withinMs / 1000} s`)
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}
