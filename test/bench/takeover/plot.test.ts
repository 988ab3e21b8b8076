import assert from 'node:assert/strict'
import { test } from 'node:test'
import { plot, xOf } from './plot.ts'

test('the axis is logarithmic: each power of ten is as wide as the others', () => {
  const widths = [10, 100, 1_000, 10_000].map((ms) => xOf(ms * 10) - xOf(ms))
  for (const width of widths) assert.ok(Math.abs(width - (widths[0] as number)) < 1e-9)
})

test('what is off the axis stands at its end', () => {
  assert.equal(xOf(0), xOf(10))
  assert.equal(xOf(1e9), xOf(100_000))
})

test('a bar is as long as its median, its line goes to the longest, and words are escaped', () => {
  const bars = [{ mode: 'warm', medianMs: 1_000, maxMs: 10_000, text: '<1 & 2>' } as const]
  const svg = plot('title', [{ label: 'worker', bars }])
  assert.match(svg, new RegExp(`width="${(xOf(1_000) - xOf(10)).toFixed(1)}"`))
  assert.match(svg, new RegExp(`x2="${xOf(10_000).toFixed(1)}" y2="\\d+" stroke="#333"`))
  assert.match(svg, /&lt;1 &amp; 2&gt;/)
})

test('a limit is a mark of its own, where there is one', () => {
  const bar = { mode: 'cold', medianMs: 1_000, maxMs: 1_000, text: '' } as const
  const mark = new RegExp(`<line x1="${xOf(5_000).toFixed(1)}" [^>]*stroke-width="2"`)
  assert.match(plot('t', [{ label: 'g', bars: [{ ...bar, limitMs: 5_000 }] }]), mark)
  assert.doesNotMatch(plot('t', [{ label: 'g', bars: [bar] }]), /stroke-width/)
})

test('groups do not overlap, and the picture is as high as they are together', () => {
  const bar = { mode: 'cold', medianMs: 1, maxMs: 1, text: '' } as const
  const group = { label: 'g', bars: [bar, bar, bar] }
  const heightOf = (svg: string) => Number(/viewBox="0 0 \d+ (\d+)"/.exec(svg)?.[1])
  const added = heightOf(plot('t', [group, group])) - heightOf(plot('t', [group]))
  assert.ok(added > 3 * 16)
  const tops = [...plot('t', [group, group]).matchAll(/<rect x="\d+" y="(\d+)"/g)].map((one) =>
    Number(one[1]),
  )
  assert.equal(new Set(tops).size, 6)
})
