const SECRET_TEXT = /\b(Bearer|Basic)\s+[\w.~+/-]+=*|\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?/gi
/** The key by which fronts trust each other, in the Lease's annotation and in the header of a request. */
const FRONT_KEY = /(langflow-leader[/-](?:front|hop)\W{1,8}\d{1,15} (?:\S{1,300} )?)[\w-]{22}/gi
/** The key that signs consent, in the Lease's annotation. */
const MEMBERS_KEY = /(langflow-leader\/members\W{1,24}key\W{1,24})[\w-]{16,64}/gi
/** `https://user:password@host`, also if the password contains slashes. */
const URL_USER = /\b([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s"'<>]{1,2000}@/gi
const URL_QUERY = /([?&][\w-]{0,60}(?:key|sig|code|auth(?!or))[\w-]{0,60}=)[^&\s"'<>]{1,2000}/gi
/** `password=value`, in a URL or elsewhere. */
const ASSIGNED = /\b([\w-]{0,60}(?:passw|token|secret|api[_-]?key)[\w-]{0,60}=)[^&\s"'<>]{1,2000}/gi
export const REDACTED = '[redacted]'

/**
 * Text without bearer tokens, basic credentials, JSON web tokens, credentials in URLs, and keys of fronts and members.
 * Valid JSON stays valid. It is a second line of defence: no secret is shown on purpose.
 */
export function redactText(text: string): string {
  return text
    .replace(SECRET_TEXT, (_, scheme: string | undefined) => (scheme ? `${scheme} ${REDACTED}` : REDACTED))
    .replace(FRONT_KEY, `$1${REDACTED}`)
    .replace(MEMBERS_KEY, `$1${REDACTED}`)
    .replace(URL_USER, `$1${REDACTED}@`)
    .replace(URL_QUERY, `$1${REDACTED}`)
    .replace(ASSIGNED, `$1${REDACTED}`)
}
