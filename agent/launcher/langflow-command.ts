import { existsSync, realpathSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { findProgram, headOf } from '../processes/spawn.ts'
import { readScript, type Start } from './start-script.ts'

/** How the user's command would start LangFlow in its own interpreter. */
interface LangflowStart {
  readonly interpreter: readonly [string, ...string[]]
  readonly argv: readonly string[] // sys.argv
  readonly importsFrom: string // sys.path[0]
  readonly environment: Readonly<Record<string, string>>
}

const SHELLS = new Set(['sh', 'bash', 'dash', 'ash'])
export const KNOWN =
  '"langflow run …", "python -m langflow run …", or "sh -c" with one of them after lines that only set variables'

/** Finds LangFlow's interpreter by the first line of the script, or because the command names it. Throws one sentence. */
export function readLangflowCommand(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  cwd: string,
): LangflowStart {
  const { words, environment, directories } = readStart(command, env)
  if (!directories.every((directory) => existsSync(directory)))
    throw new Error('its shell script creates a directory: mount a volume there')
  const [program = '', ...args] = words
  const at = args.indexOf('-m')
  if (isPython(program)) {
    const argv = ['langflow', ...args.slice(at + 2)]
    return { interpreter: [program, ...args.slice(0, at)], argv, importsFrom: cwd, environment }
  }
  const given = { ...env, ...environment }
  const script = findProgram(program, given)
  const [interpreter, importsFrom] = [interpreterOf(script, given), dirname(realpathSync(script))]
  return { interpreter, argv: [script, ...args], importsFrom, environment }
}

/**
 * What a command does that starts LangFlow, also behind a shell. Throws if it does anything else, which must not happen
 * before the grant. The message contains no argument and no value: they may be secrets.
 */
export function readStart(command: readonly string[], env: NodeJS.ProcessEnv): Start {
  const [shell = '', option = '', script, ...more] = command
  const isShell = SHELLS.has(basename(shell))
  if (isShell && (!/^-[a-z]*c$/.test(option) || script === undefined || more.length > 0))
    throw new Error(`the shell is not started as "sh -c COMMAND": use ${KNOWN}`)
  const start = isShell ? readScript(script ?? '', env) : { words: command, environment: {}, directories: [] }
  const [program = '', ...args] = start.words
  if (isPython(program)) {
    const [, module = '', verb] = args.includes('-m') ? args.slice(args.indexOf('-m')) : []
    if ((module !== 'langflow' && module !== 'langflow.__main__') || verb !== 'run')
      throw new Error(`"${program}" starts something other than LangFlow: use ${KNOWN}`)
  } else if (basename(program) !== 'langflow')
    throw new Error(`"${program}" is not LangFlow's command: use ${KNOWN}`)
  else if (args[0] !== 'run') throw new Error(`"langflow" is not followed by "run": use ${KNOWN}`)
  return start
}

function isPython(program: string): boolean {
  return /^python[\d.]*$/.test(basename(program))
}

/** Puts `CUT_OFF` before the command if it starts LangFlow. Returns any other command unchanged. */
export function coldStart(command: readonly string[], env: NodeJS.ProcessEnv) {
  try {
    const { interpreter, argv, importsFrom, environment } = readLangflowCommand(command, env, process.cwd())
    const cold = [...interpreter, '-c', COLD_SCRIPT, importsFrom, ...argv]
    return { command: cold, env: { ...env, ...environment } }
  } catch {
    return { command, env }
  }
}

function interpreterOf(script: string, env: NodeJS.ProcessEnv): [string, ...string[]] {
  const [, line = ''] = /^#!\s*(.*\S)/.exec(headOf(script)) ?? []
  const [interpreter = '', ...options] = line.split(/\s+/)
  if (basename(interpreter) === 'env' && options[0] !== undefined)
    return [findProgram(options[0], env), ...options.slice(1)]
  if (isPython(interpreter)) return [interpreter, ...options]
  throw new Error(`the first line of ${script} names no Python interpreter`)
}

/**
 * LangFlow's worker (uvicorn) waits for requests without a limit. If it is forced to end, it skips the writes that it
 * has deferred: rows, and the leases of its triggers. With this code, a SIGINT that follows a SIGTERM cancels the
 * requests. A task that cannot be cancelled is abandoned.
 */
export const CUT_OFF = `
def cut_off():
    try:
        import asyncio, signal
        from uvicorn.server import Server
        usual = Server.handle_exit
    except Exception:
        return
    def handle_exit(self, sig, frame):
        if sig != signal.SIGINT or not self.should_exit:
            return usual(self, sig, frame)
        loop, state = asyncio.get_running_loop(), self.server_state
        def cancel():
            for task in list(state.tasks):
                task.cancel()
            loop.call_later(0.2, forget)
        def forget():
            for connection in list(state.connections):
                connection.transport.abort()
            state.connections.clear()
            state.tasks.clear()
        loop.call_soon_threadsafe(cancel)
    Server.handle_exit = handle_exit
cut_off()
del cut_off
`

/** Arguments: `sys.path[0]`, then `sys.argv`, which begins with the path of a script or a module's name. */
const COLD_SCRIPT = `
import runpy, sys
sys.path[0] = sys.argv[1]
sys.argv = sys.argv[2:]
${CUT_OFF}
if "/" in sys.argv[0]:
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
`
