import { redactText } from '../../redaction.ts'
import { asFields, asList, asText, dig, type Fields } from '../manifests/manifest.ts'
import { IMAGE_USER, isHarmless, REMOVED, SECRET_NAME } from './manifest-redaction.ts'

/** A shorter value, or a plain word such as `langflow`, also occurs where it is no secret. */
const SHORTEST = 6
const PLAIN_WORD = /^[a-z]{1,10}$/i
/** Keys of Secrets whose values are names, as in `username: langflow`. Other text contains them as well. */
const NAME_KEYS = /^(\w*[-_.])?(user(name)?|host(name)?|port|db(name)?|database|schema|region|type|engine)$/i

/** The secret values that this user can read, to remove them from every text of a report. */
export class KnownSecrets {
  private readonly values = new Set<string>()

  /** The values of a Secret. A value may be a file with a line for each secret. */
  addSecret({ data }: Fields): void {
    for (const [key, encoded] of Object.entries(asFields(data))) {
      const value = Buffer.from(asText(encoded), 'base64').toString()
      if (NAME_KEYS.test(key)) continue
      this.add(value)
      this.addPasswords(value)
      for (const line of value.split('\n')) {
        this.add(line)
        this.add(/^[^=]*=(.*)$/.exec(line)?.[1] ?? '')
      }
    }
  }

  /**
   * The variables of a pod's containers that are not obviously harmless, and the credentials in its URLs, images and
   * probes.
   */
  addPod({ spec }: Fields): void {
    for (const container of ['initContainers', 'containers'].flatMap((key) => asList(dig(spec, key)))) {
      for (const entry of asList(dig(container, 'env'))) {
        const { name, value } = asFields(entry)
        if (mayBeSecret(asText(name), asText(value))) this.add(asText(value))
      }
      this.add(IMAGE_USER.exec(asText(dig(container, 'image')))?.[1] ?? '')
    }
    const paths = JSON.stringify(spec ?? {}).matchAll(/"path":"[^"?]*\?([^"]*)"/g)
    for (const [, query = ''] of paths)
      for (const pair of query.split('&')) this.add(pair.replace(/^.*?=/, ''))
    this.addPasswords(JSON.stringify(spec ?? {}))
  }

  /** Text without these values, in plain, JSON, URL or base64 encoding, and without tokens and passwords in URLs. */
  redact(text: string): string {
    const forms = [...this.values].flatMap((value) => [
      value,
      JSON.stringify(value).slice(1, -1),
      encodeURIComponent(value),
      Buffer.from(value).toString('base64'),
    ])
    let left = text
    for (const form of new Set(forms.sort((a, b) => b.length - a.length)))
      left = left.replaceAll(form, REMOVED)
    return redactText(left)
  }

  /** The passwords in URLs. */
  private addPasswords(text: string): void {
    for (const [, password = ''] of text.matchAll(/:\/\/[^\s"':@/]*:([^\s"'@]+)@/g)) this.add(password)
  }

  private add(text: string): void {
    const value = text.trim().replace(/^(["'])(.*)\1$/s, '$2')
    if (value.length >= SHORTEST && !PLAIN_WORD.test(value) && !isHarmless('', value)) this.values.add(value)
  }
}

/** By its name, or because it looks random or like a URL. A value such as `us-east` is no secret. */
function mayBeSecret(name: string, value: string): boolean {
  if (isHarmless(name, value)) return false
  return SECRET_NAME.test(name) || /:\/\/|\d.*[a-z]|[a-z].*\d/i.test(value)
}
