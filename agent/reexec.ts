/** How a variable of LangFlow's is called in a process of this program that must not be changed by it. */
export const ASIDE = 'LANGFLOW_LEADER_ASIDE_'

/**
 * The environment for this program, with what would change it under other names (`ASIDE`), so that LangFlow can be given it
 * as it was. A launcher takes nothing but its own options from LangFlow's container: everything else is LangFlow's. Agent
 * and the other commands live in an environment of their own, or in that of an operator: there only what changes Node or
 * its loader goes (docs/evidence/decisions.md), and what a kubeconfig, a proxy or a certificate needs stays.
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
 * Replaces this process by one with a clean environment and with the flags that it must have, where it lacks any: same pid,
 * parent and standard streams. Without `--disable-sigusr1` any process that may signal this one could open its debugger, and
 * act in its name; and Node has obeyed its environment before any code of ours runs.
 * The built file holds this function and `setAside` as text, and runs them before all else: they use nothing else of any module.
 * @param v8 flags for the version of Node that begins with `version`: another might not know one, and then would not start
 */
export function reexec(v8: readonly string[] = [], version = ''): void {
  const { execArgv, execPath, argv, env } = process
  // The agent starts a front with flags of its own (agent/traffic/front-process.ts): it would lose its pipe here.
  const ours = process.version.startsWith(version) && argv[2] !== 'front'
  const wanted = ['--disable-sigusr1', ...(ours ? v8 : [])]
  const missing = wanted.filter((flag) => !execArgv.includes(flag))
  const clean = setAside(env, argv[2])
  if (missing.length === 0 && Object.keys(clean).every((name) => name in env)) return
  if (process.execve === undefined) {
    console.error(
      `langflow-leader: needs Node 24 or newer, and this is Node ${process.version.slice(1)}: install it`,
    )
    process.exit(1)
  }
  process.execve(execPath, [execPath, ...execArgv, ...missing, ...argv.slice(1)], clean)
}
