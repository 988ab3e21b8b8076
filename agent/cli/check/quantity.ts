const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  Ti: 1024 ** 4,
}

/** A quantity of memory, such as `512Mi`, in bytes; `null` if there is none. */
export function bytesOf(quantity: unknown): number | null {
  const [, number, suffix = ''] = /^([\d.]+(?:[eE][+-]?\d+)?)([A-Za-z]*)$/.exec(String(quantity ?? '')) ?? []
  const factor = FACTORS[suffix]
  return number === undefined || factor === undefined ? null : Number(number) * factor
}
