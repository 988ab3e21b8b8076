import * as z from 'zod/mini'

/** LangFlow 1.13 aborts its start if a flow is anything else, as far as it depends on the file alone. */
const Flow = z.object({
  name: z.string(),
  id: z.optional(z.string()),
  endpoint_name: z.nullish(z.string().check(z.regex(/^[\w-]+$/))),
  data: z.nullish(z.union([z.strictObject({}), z.object({ nodes: z.any(), edges: z.any() })])),
})

/** Why LangFlow would abort its start because of a flow, in one sentence without its text. `null`: no known reason. */
export function faultOfFlow(path: string, bytes: Uint8Array): string | null {
  let flow: unknown
  try {
    flow = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    return `LangFlow would not start: ${path} is not JSON in UTF-8 without a byte order mark`
  }
  const [issue] = z.safeParse(Flow, flow).error?.issues ?? []
  if (issue === undefined) return null
  const [field] = issue.path
  const fault = field === undefined ? 'is not a JSON object' : `has no valid "${String(field)}"`
  return `LangFlow would not start: ${path} ${fault}`
}
