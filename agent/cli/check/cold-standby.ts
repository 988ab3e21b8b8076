import { langflowWords } from '../../launcher/langflow-command.ts'
import { asList, asText } from '../manifests/manifest.ts'
import type { Installation } from './installation.ts'

/**
 * Why the launcher cannot keep this LangFlow warm, in one sentence, as the status shows it. `null`: no known reason. The
 * files of the image are unknown.
 */
export function whyCold({ langflow, env }: Pick<Installation, 'langflow' | 'env'>): string | null {
  const words = [...asList(langflow.command), ...asList(langflow.args)].map(asText)
  const command = words.slice(words.indexOf('--') + 1)
  // The command of the image is unknown.
  if (command.length === 0) return null
  // A variable with an unknown value counts as one word.
  const values: Record<string, string> = { ...env.values }
  for (const [, name = ''] of command.join(' ').matchAll(/\$[({]?(\w+)/g)) values[name] ??= 'x'
  // Kubernetes inserts these variables itself.
  const isGiven = (name: string) => name in env.values || env.elsewhere.has(name)
  const given = command.map((word) =>
    word.replace(/\$\((\w+)\)/g, (whole, name) => (isGiven(name) ? (values[name] ?? '') : whole)),
  )
  try {
    langflowWords(given, values, () => true)
    return null
  } catch (error) {
    return (error as Error).message
  }
}
