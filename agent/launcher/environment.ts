import { ASIDE } from '../reexec.ts'

/** Who runs the workload: what its own code may use as a fencing token. */
export interface Leadership {
  readonly epoch: number
  readonly identity: string
}

/** What LangFlow's container was given, by the names that it was given it, from the environment of its launcher. */
export function givenEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const given = ([name, value]: [string, string | undefined]) => [
    name.startsWith(ASIDE) ? name.slice(ASIDE.length) : name,
    value,
  ]
  return Object.fromEntries(Object.entries(env).map(given))
}

/**
 * The workload's environment: what its container was given, without every `KUBERNETES_*` and `LEADER_*` variable, so that no flow
 * finds the API server or this program's settings in it. Other service links (`FOO_SERVICE_HOST`) stay: a flow may
 * use them.
 */
export function standbyEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(KUBERNETES|LEADER)_/.test(name)))
}

/** The same, with `LEADER_EPOCH` and `LEADER_IDENTITY`. */
export function workloadEnvironment(
  env: NodeJS.ProcessEnv,
  { epoch, identity }: Leadership,
): NodeJS.ProcessEnv {
  return { ...standbyEnvironment(env), LEADER_EPOCH: String(epoch), LEADER_IDENTITY: identity }
}
