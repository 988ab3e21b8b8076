import { readStart } from '../../launcher/langflow-command.ts'
import type { Environment } from './container-environment.ts'
import { Unseen } from './rule.ts'

/**
 * Why the launcher cannot keep this LangFlow warm, in one sentence, as the status shows it. `null`: no known reason. A hidden value
 * counts as one word.
 *
 * @param visit is called with each directory that must exist in the container
 */
export function whyCold(
  { command, values, elsewhere, sources }: Environment,
  visit: (directory: string) => void = () => {},
): string | null {
  // The command of the image is unknown.
  if (command.length === 0) return null
  const visible: Record<string, string> = { ...values }
  for (const name of elsewhere.keys()) visible[name] = 'x'
  if (sources.length > 0)
    for (const [, name = ''] of command.join(' ').matchAll(/\$[({]?(\w+)/g)) visible[name] ??= 'x'
  try {
    readStart(command, visible).directories.forEach(visit)
    return null
  } catch (error) {
    if (error instanceof Unseen) throw error
    return (error as Error).message
  }
}
