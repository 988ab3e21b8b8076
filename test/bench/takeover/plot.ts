import type { Mode } from './settings.ts'

/** One bar: the median as its length, the longest as a line beyond it, the limit as a mark. */
export interface Bar {
  readonly mode: Mode
  readonly medianMs: number
  readonly maxMs: number
  /** What may not be exceeded. */
  readonly limitMs?: number | undefined
  /** What is written behind it. */
  readonly text: string
}

export interface Group {
  readonly label: string
  readonly bars: readonly Bar[]
}

const WIDTH = 900
const LEFT = 240
const RIGHT = 250
const TOP = 48
const BAR = 16
const GAP = 4
const BETWEEN = 16
const FROM_MS = 10
const TO_MS = 100_000
const COLOUR: Readonly<Record<Mode, string>> = {
  cold: '#8da0b3',
  warm: '#4f86c6',
  spare: '#2e9e6b',
}
const LIMIT_COLOUR = '#c0392b'

/** Where a time stands on the logarithmic axis, in pixels. */
export function xOf(ms: number): number {
  const within = Math.min(Math.max(ms, FROM_MS), TO_MS)
  const share = Math.log10(within / FROM_MS) / Math.log10(TO_MS / FROM_MS)
  return LEFT + share * (WIDTH - LEFT - RIGHT)
}

/** Horizontal bars on a logarithmic axis, as an SVG. */
export function plot(title: string, groups: readonly Group[]): string {
  const heightOf = ({ bars }: Group) => bars.length * (BAR + GAP) + BETWEEN
  const bottom = TOP + groups.reduce((sum, group) => sum + heightOf(group), 0)
  let y = TOP
  const drawn = groups.flatMap((group) => {
    const top = y
    y += heightOf(group)
    return drawGroup(group, top)
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${bottom + 28}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    text(16, 24, title, 'font-size="15" font-weight="bold"'),
    ...axis(bottom),
    ...drawn,
    '</svg>',
    '',
  ].join('\n')
}

function axis(bottom: number): string[] {
  return [
    [10, '10 ms'],
    [100, '0.1 s'],
    [1_000, '1 s'],
    [10_000, '10 s'],
    [100_000, '100 s'],
  ].flatMap(([ms, label]) => {
    const x = xOf(Number(ms)).toFixed(1)
    return [
      `<line x1="${x}" y1="${TOP - 8}" x2="${x}" y2="${bottom}" stroke="#ddd"/>`,
      text(Number(x), bottom + 16, String(label), 'text-anchor="middle" fill="#666"'),
    ]
  })
}

function drawGroup({ label, bars }: Group, top: number): string[] {
  const middle = top + (bars.length * (BAR + GAP)) / 2 + 2
  return [
    text(16, middle, label, 'font-weight="bold"'),
    ...bars.flatMap((bar, n) => {
      const y = top + n * (BAR + GAP)
      const [from, to, longest] = [xOf(FROM_MS), xOf(bar.medianMs), xOf(bar.maxMs)]
      const line = y + BAR / 2
      return [
        text(LEFT - 8, y + BAR - 4, bar.mode, 'text-anchor="end" fill="#444"'),
        `<rect x="${from}" y="${y}" width="${(to - from).toFixed(1)}" height="${BAR}" fill="${COLOUR[bar.mode]}"/>`,
        `<line x1="${to.toFixed(1)}" y1="${line}" x2="${longest.toFixed(1)}" y2="${line}" stroke="#333"/>`,
        ...(bar.limitMs === undefined ? [] : [limit(bar.limitMs, y)]),
        text(Math.max(longest, xOf(bar.limitMs ?? 0)) + 8, y + BAR - 4, bar.text),
      ]
    }),
  ]
}

function limit(ms: number, y: number): string {
  const x = xOf(ms).toFixed(1)
  return `<line x1="${x}" y1="${y - 1}" x2="${x}" y2="${y + BAR + 1}" stroke="${LIMIT_COLOUR}" stroke-width="2"/>`
}

function text(x: number, y: number, words: string, attributes = ''): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escaped(words)}</text>`
}

function escaped(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
