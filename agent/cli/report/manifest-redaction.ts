import { AGENT_SETTINGS, CONTENT_SETTINGS, SHARED_SETTINGS } from '../../config/agent-settings.ts'
import { flagOf } from '../../config/setting.ts'
import { RECORD } from '../inject/injection-record.ts'
import { asFields, asList, asText, type Fields, isFields } from '../manifests/manifest.ts'

export const REMOVED = '<removed>'

/** Names of variables and flags whose values are always removed. */
export const SECRET_NAME = /passw|secret|token|key|credential|auth(?!o)|dsn|salt|cookie|private/i
/** Values that cannot be a secret: on or off, numbers, durations, sizes, paths, ports, loopback. */
const HARMLESS =
  /^(|true|false|yes|no|on|off|none|null|\d{1,5}(\.\d+)?|\d+(ms|s|m|h|[kmg]i?)|:\d{1,5}|(127\.0\.0\.1|localhost|0\.0\.0\.0)(:\d{1,5})?|(\/[\w.@-]{1,63})+\/?|\$\(\w+\))$/i
/** Flags of the agent and the launcher, none of which is a secret. A URL in them may contain a password. */
const OWN = new Set(Object.keys({ ...AGENT_SETTINGS, ...CONTENT_SETTINGS, ...SHARED_SETTINGS }).map(flagOf))
/** Annotations of other programs whose values are harmless. */
const HARMLESS_NOTES = new Set(['deployment.kubernetes.io/revision', 'kubectl.kubernetes.io/restartedAt'])
/** The key of the fronts, and the parts of a manifest before `inject`. */
const OWN_SECRET_NOTES = new Set(['langflow-leader/front', RECORD])
/** Objects whose values may be secrets, whatever their keys are. */
const OPAQUE = new Set(['data', 'binaryData', 'stringData', 'volumeAttributes', 'options', 'parameters'])

/** `user:password@registry/image`, but not the digest at the end. */
export const IMAGE_USER = /^(.*)@(?!sha\d)/s

/** Whether the value of this variable or flag may be shown. */
export function isHarmless(name: string, value: string): boolean {
  if (!HARMLESS.test(value)) return false
  return !SECRET_NAME.test(name) || /^(|true|false)$/i.test(value) || /(file|path|dir)$/i.test(name)
}

/** A copy of an object of the API without values that may be secrets. Names, keys and references are kept. */
export function withoutSecrets(object: Fields): Fields {
  const { status: _, ...shown } = object
  return asFields(copied('', { ...shown, ...(object.kind === 'Pod' && { status: object.status }) }))
}

function copied(key: string, value: unknown): unknown {
  if (key === 'command' || key === 'args') return words(asList(value).map(asText))
  if (Array.isArray(value)) return value.map((one) => (isFields(one) ? entry(key, one) : copied('', one)))
  if (key === 'image' || key === 'imageID') return asText(value).replace(IMAGE_USER, `${REMOVED}@`)
  // A probe's query may contain a token.
  if (key === 'path') return asText(value).replace(/\?.*/s, `?${REMOVED}`)
  if (!isFields(value)) return value
  if (OPAQUE.has(key)) return mapped(value, () => REMOVED)
  // With terminationMessagePolicy: FallbackToLogsOnError, the message is the end of LangFlow's own log.
  if (key === 'terminated' && value.message !== undefined) return { ...value, message: REMOVED }
  if (key === 'annotations') return mapped(value, (name, text) => (isShownNote(name) ? text : REMOVED))
  const { managedFields: _, ...shown } = value
  return mapped(shown, copied)
}

/** An entry of a list: a variable, a header, or another object. */
function entry(list: string, value: Fields): unknown {
  const { name, value: text } = value
  if (list === 'httpHeaders') return { ...value, value: REMOVED }
  if (list !== 'env' || text === undefined) return copied('', value)
  return { ...value, value: shown(asText(name), asText(text)) }
}

function shown(name: string, value: string): string {
  return isOwn(name) || isHarmless(name, value) ? value : REMOVED
}

/** A setting of the agent or the launcher, by its flag or its variable. */
function isOwn(name: string): boolean {
  return OWN.has(name.startsWith('LEADER_') ? `--${name.slice(7).toLowerCase().replaceAll('_', '-')}` : name)
}

/** A command line: the words of commands and flags are kept. */
function words(all: readonly string[]): string[] {
  return all.map((word, at) => {
    const before = all[at - 1] ?? ''
    const [, flag = '', value = ''] = /^(--?[a-z][\w-]*)=(.*)$/is.exec(word) ?? []
    if (flag !== '') return `${flag}=${shown(flag, value)}`
    if (/^(--([a-z][a-z0-9-]*)?|-[a-z])$/i.test(word)) return word
    if (/^--?[a-z]/i.test(before) && !before.includes('=')) return shown(before, word)
    return /^[a-z][a-z-]{0,24}$/.test(word) || HARMLESS.test(word) ? word : REMOVED
  })
}

function isShownNote(name: string): boolean {
  return (name.startsWith('langflow-leader/') && !OWN_SECRET_NOTES.has(name)) || HARMLESS_NOTES.has(name)
}

function mapped(fields: Fields, change: (key: string, value: unknown) => unknown): Fields {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, change(key, value)]))
}
