import { basename } from 'node:path'
import { readStart } from '../../launcher/langflow-command.ts'

/** How a container's command changes the variables before LangFlow starts. */
export interface ScriptEffect {
  /** The variables that the command certainly sets, with their values. */
  readonly sets: Readonly<Record<string, string>>
  /** Why the command may set a variable; `null` if it certainly does not. */
  readonly maySet: (name: string) => string | null
}

const SHELL = /^(ba|da|a|z|k)?sh$/
/** Programs that start another program with the same environment. */
const TRANSPARENT = /^(tini|dumb-init)$/
/** Shell commands that may set any variable. */
const SETS_ANY = /(^|[\s;&|({])(\.|source|eval|read|set\s+-a|set\s+-o\s+allexport)\s/
/** LangFlow as a command of its own. Another program before it, such as `doppler run --`, may set variables. */
const STARTS_LANGFLOW =
  /(^|[;&|({\n]|\b(then|else|do|exec)\s)\s*([A-Za-z_]\w*=\S*\s+)*(\S*\/)?(langflow|python[\d.]*\s+-m\s+langflow(\.__main__)?)\s+run\b/

/**
 * Reads a command as the launcher does, else looks for the names of variables in it. `env`: the visible variables of the container.
 * `isWhole`: whether no other variable may be set.
 */
export function effectOf(command: readonly string[], env: NodeJS.ProcessEnv, isWhole: boolean): ScriptEffect {
  const words = withoutInit(command)
  const [program = '', option = '', text = ''] = words
  if (words.length === 0) return { sets: {}, maySet: () => null }
  const isScript = SHELL.test(basename(program)) && /^-[a-z]*c$/.test(option)
  try {
    const { environment } = readStart(words, env)
    if (!isScript || isWhole || !readsOthers(text, env)) return { sets: environment, maySet: () => null }
  } catch {
    // It is not a command that the launcher can read.
  }
  if (!isScript) return { sets: {}, maySet: () => `the program ${basename(program)} may set it` }
  if (SETS_ANY.test(text) || !STARTS_LANGFLOW.test(text))
    return { sets: {}, maySet: () => 'the script of its container may set it' }
  return {
    sets: {},
    maySet: (name) => (changes(text, name) ? `the script of its container sets ${name}` : null),
  }
}

function withoutInit(command: readonly string[]): readonly string[] {
  if (!TRANSPARENT.test(basename(command[0] ?? ''))) return command
  return command.slice(command.findIndex((word, index) => index > 0 && !word.startsWith('-')))
}

/** Whether the script reads a variable that is not visible. */
function readsOthers(text: string, env: NodeJS.ProcessEnv): boolean {
  return [...text.matchAll(/\$\{?([A-Za-z_]\w*)/g)].some(([, name = '']) => !(name in env))
}

/** Whether the script does more with a variable than read it, such as `export A=…`, `unset A` or `${A:=…}`. */
function changes(text: string, name: string): boolean {
  return new RegExp(`(^|[^\\w$\{])${name}\\b|\\$\\{${name}:?=`).test(text)
}
