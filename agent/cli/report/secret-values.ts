import { unescape as decodeUrl } from 'node:querystring'
import { oneLine } from '../../exit.ts'
import { REDACTED } from '../../redaction.ts'

/** Characters of the shortest text that is removed. Shorter ones, such as `true`, are parts of many words. */
const SHORTEST = 6
const NO_SECRET = 'langflow-leader' // nor `langflow`, the user in many databases
/** `https://user:password@host` or a token alone; `password=value`, `{token: value}`, `password value`, `Bearer value`. */
const URL_CREDENTIAL = /:\/\/(?:[^\s:@/]{0,200}:)?([^\s@]{1,500})@/g
const NAMED_CREDENTIAL = /(?:passw|token|secret|key|bearer|basic)[\w-]{0,60}["']?[\s:=]+["']?([^\s"'&;,}]+)/gi

/** Removes the values of Secrets from texts, each text inside of a value, and their encoded forms. */
export function secretRemover(values: readonly Buffer[]): (text: string) => string {
  const leaves = values.flatMap((value) => [...leavesOf(value.toString())]).map((leaf) => Buffer.from(leaf))
  const forms = new Set([...values, ...leaves].flatMap(formsOf))
  const secrets = [...forms].filter((form) => form.length >= SHORTEST && !NO_SECRET.includes(form))
  return (text) => {
    // Values may overlap, so all of them are found before one is removed.
    const hidden = new Uint8Array(text.length)
    for (const secret of secrets)
      for (let at = text.indexOf(secret); at >= 0; at = text.indexOf(secret, at + 1))
        hidden.fill(1, at, at + secret.length)
    return [...hidden.keys()].map((at) => (hidden[at] ? (hidden[at - 1] ? '' : REDACTED) : text[at])).join('')
  }
}

/** A text, and those inside of it: strings of JSON, lines, values of `key=value` and `key: value`, credentials of URLs, decoded base64. */
function* leavesOf(whole: string, depth = 0): Generator<string> {
  const text = whole.trim().toWellFormed()
  if (text.length < SHORTEST || depth > 4) return
  yield text
  const parts = text.split(/\n| #|^- /m)
  for (const [, , value = ''] of text.matchAll(/^(?:export +)?[^\s:=]+ *[:=]\s*(["']?)(.+)\1$/gm))
    parts.push(value)
  for (const pattern of [URL_CREDENTIAL, NAMED_CREDENTIAL])
    for (const [, credential = ''] of text.matchAll(pattern)) parts.push(credential, decodeUrl(credential))
  if (/^[\w+/-]+=*$/.test(text)) parts.push(Buffer.from(text, 'base64').toString())
  try {
    JSON.parse(text, (_, value) => void (typeof value === 'string' && parts.push(value)))
  } catch {
    // It is no JSON.
  }
  for (const part of parts) if (part !== text) yield* leavesOf(part, depth + 1)
}

function formsOf(bytes: Buffer): string[] {
  const quoted = (text: string) => JSON.stringify(text).slice(1, -1)
  const text = bytes.toString()
  const base64 = [0, 1, 2].flatMap((offset) => inBase64(bytes, offset))
  const plain = [text, encodeURIComponent(text), quoted(text), quoted(quoted(text))].map(oneLine)
  return [...plain, ...base64, ...base64.map((form) => form.replaceAll('+', '-').replaceAll('/', '_'))]
}

/** The characters that depend only on these bytes if they begin at `offset` (modulo 3) of a longer text, or of one that ends with them. */
function inBase64(bytes: Buffer, offset: number): string[] {
  const all = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
  const first = Math.ceil((offset * 4) / 3)
  return [all.slice(first, Math.floor(((offset + bytes.length) * 4) / 3)), all.slice(first)]
}
