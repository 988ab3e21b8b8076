/** Prefix for the name of a variable of LangFlow that must not change a process of this program. */
export const ASIDE = 'LANGFLOW_LEADER_ASIDE_'

/**
 * The environment for this program. Variables that would change the program have other names (`ASIDE`), so that
 * LangFlow can still receive them unchanged. A launcher takes only its own options from LangFlow's container:
 * everything else is LangFlow's. The agent and the other commands have their own environment, or that of an operator.
 * There, only the variables that change Node or its loader are set aside (docs/evidence/decisions.md), and those that a
 * kubeconfig, a proxy or a certificate needs stay.
 */
export function setAside(env: NodeJS.ProcessEnv, command: string | undefined): NodeJS.ProcessEnv {
  const own = /^(LEADER|LANGFLOW_LEADER)_/
  const changesNode = /^(NODE_(?!(EXTRA_CA_CERTS|USE_SYSTEM_CA|USE_ENV_PROXY)$)|LD_|UV_|GLIBC_TUNABLES$)/
  const stays = (name: string) => own.test(name) || (command !== 'launch' && !changesNode.test(name))
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [stays(name) ? name : ASIDE + name, value]),
  )
}

/**
 * If this process lacks a clean environment or a required flag, replaces it by one that has them: same pid, parent and
 * standard streams. Without `--disable-sigusr1`, any process that may signal this one could open its debugger and act
 * in its name. Node has already obeyed its environment before any code of this program runs. The built file contains
 * this function and `setAside` as text, and runs them before all else, so they use nothing else of any module.
 * @param v8 flags for the version of Node that begins with `version`. Another version might refuse one, and not start.
 */
export function reexec(v8: readonly string[] = [], version = ''): void {
  const { execArgv, execPath, argv, env } = process
  // They suit programs that run for months in a pod. They would slow down a command of a person, and the agent starts a front
  // with its own flags (agent/front/agent-side/front-process.ts), because a front would lose its pipe here.
  const ours = process.version.startsWith(version) && /^(agent|launch|run)$/.test(argv[2] ?? '')
  const required = ['--disable-sigusr1', ...(ours ? v8 : [])]
  const missing = required.filter((flag) => !execArgv.includes(flag))
  const clean = setAside(env, argv[2])
  if (missing.length === 0 && Object.keys(clean).every((name) => name in env)) return
  if (process.execve === undefined) {
    console.error(
      `langflow-leader: requires Node 24 or newer, but this is Node ${process.version.slice(1)}: install a newer Node`,
    )
    process.exit(1)
  }
  // Without `--`, Node itself would read `--env-file` of this program's arguments, and obey NODE_OPTIONS in that file.
  process.execve(execPath, [execPath, ...execArgv, ...missing, '--', ...argv.slice(1)], clean)
}
