const LONGEST = 48

/**
 * Makes label values out of text whose variety nobody bounds: lower-case words joined by `_`, without numbers, so
 * that "exited with code 137" and "exited with code 1" are one series; after `limit` different ones, `other`.
 */
export function boundedLabel(limit: number): (text: string) => string {
  const known = new Set<string>()
  return (text) => {
    // A bare status code is a fixed set already.
    const label = /^\d{3}$/.test(text) ? text : words(text)
    if (known.has(label)) return label
    if (known.size >= limit) return 'other'
    known.add(label)
    return label
  }
}

function words(text: string): string {
  const label = text
    .toLowerCase()
    .split(/[^a-z]+/)
    .filter((word) => word !== '')
    .join('_')
  return label.slice(0, LONGEST).replace(/_$/, '') || 'none'
}
