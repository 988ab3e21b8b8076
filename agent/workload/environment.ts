/** Who runs the workload: what its own code may use as a fencing token. */
export interface Leadership {
  readonly epoch: number
  readonly identity: string
}

/**
 * The workload's environment: the launcher's, without every `KUBERNETES_*` and `LEADER_*` variable, so that no flow
 * finds the API server or this program's settings in it, and with `LEADER_EPOCH` and `LEADER_IDENTITY`. Other
 * service links (`FOO_SERVICE_HOST`) stay: a flow may use them.
 */
export function workloadEnvironment(
  env: NodeJS.ProcessEnv,
  { epoch, identity }: Leadership,
): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => !/^(KUBERNETES|LEADER)_/.test(name))
  return { ...Object.fromEntries(kept), LEADER_EPOCH: String(epoch), LEADER_IDENTITY: identity }
}
