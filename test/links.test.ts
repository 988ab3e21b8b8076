import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import { VERSION } from '../agent/version.ts'

const PAGES = globSync(['*.md', 'docs/**/*.md', 'deploy/**/*.md'])
const LINK = /\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]*))?\)/g

/** A version of the image, the chart, or the plugin of Helm. */
const VERSIONED =
  /(?:langflow-leader[:-]|--version |^version: |targetRevision: |ref: \{ tag: )(\d+\.\d+\.\d+)/gm

/** The anchors of a page, as GitHub derives them from its headings. */
function anchorsOf(page: string): ReadonlySet<string> {
  const text = readFileSync(page, 'utf8').replace(/^```.*?^```$/gms, '')
  const headings = [...text.matchAll(/^#{1,6} (.*)$/gm)].map(([, heading = '']) => anchorOf(heading))
  const counted = headings.map((anchor, index) => {
    const earlier = headings.slice(0, index).filter((other) => other === anchor).length
    return earlier === 0 ? anchor : `${anchor}-${earlier}`
  })
  const named = [...text.matchAll(/<a (?:id|name)="([^"]+)"/g)].map(([, name = '']) => name)
  return new Set([...counted, ...named])
}

function anchorOf(heading: string): string {
  return heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-')
}

test('every link in README, docs and deploy leads to a file and to one of its headings', () => {
  assert.ok(PAGES.length > 10)
  const dead = PAGES.flatMap((page) => {
    const text = readFileSync(page, 'utf8').replace(/^```.*?^```$/gms, '')
    return [...text.matchAll(LINK)].flatMap(([link, path = '', anchor]) => {
      const target = path === '' ? page : normalize(join(dirname(page), path))
      if (!existsSync(target)) return [`${page}: ${link}`]
      if (anchor === undefined || !target.endsWith('.md') || anchorsOf(target).has(anchor)) return []
      return [`${page}: ${link}`]
    })
  })
  assert.deepEqual(dead, [])
})

test('README and guide name the version of package.json in commands and manifests', () => {
  const pages = globSync(['README.md', 'docs/guide/*.md'])
  const named = pages.flatMap((page) =>
    [...readFileSync(page, 'utf8').matchAll(VERSIONED)].map(([, version]) => [page, version]),
  )
  assert.ok(named.length > 10)
  assert.deepEqual(
    named.filter(([, version]) => version !== VERSION),
    [],
  )
})
