import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { freePort } from '../support/free-port.ts'
import { Replica, type ReplicaOptions } from '../support/replica.ts'
import type { ControlPlane } from './control-plane.ts'
import { deployRights } from './deploy-rights.ts'
import { LANGFLOW_MISSING, langflowBinary, langflowEnvironment, writeFlow } from './langflow.ts'

export interface LangflowReplicas {
  /** Where each replica has a directory of its own, by its identity. */
  readonly dir: string
  readonly flows: string
  readonly namespace: string
  readonly optionsOf: (identity: string, env?: NodeJS.ProcessEnv) => Promise<ReplicaOptions>
  readonly start: (identity: string, env?: NodeJS.ProcessEnv) => Promise<Replica>
}

/** What starts replicas with a real LangFlow in a namespace of their own; `undefined`: there is none, and the test is skipped. */
export async function langflowReplicas(
  t: TestContext,
  plane: ControlPlane,
  root: string,
  flags: readonly string[] = [],
  commandOf = (binary: string, _port: number): readonly string[] => [binary, 'run', '--backend-only'],
): Promise<LangflowReplicas | undefined> {
  const binary = langflowBinary()
  if (binary === undefined) {
    t.diagnostic(`SKIPPED: ${LANGFLOW_MISSING}`)
    t.skip(LANGFLOW_MISSING)
    return undefined
  }
  const namespace = await plane.newNamespace()
  const kubeconfig = await deployRights(plane, namespace)
  const dir = join(root, namespace)
  const flows = writeFlow(binary, join(dir, 'flows'))
  const optionsOf = async (identity: string, env: NodeJS.ProcessEnv = {}) => {
    const port = await freePort()
    // LangFlow has lock files there: in a pod they are its own.
    const TMPDIR = join(dir, `${identity}-tmp`)
    mkdirSync(TMPDIR, { recursive: true })
    return {
      identity,
      kubeconfig,
      namespace,
      port,
      beats: join(dir, 'unused'),
      flags: ['--stop-timeout=60s', ...flags],
      command: commandOf(binary, port),
      env: { TMPDIR, ...langflowEnvironment(join(dir, identity), port, flows), ...env },
    }
  }
  const start = async (identity: string, env?: NodeJS.ProcessEnv) =>
    Replica.start(await optionsOf(identity, env))
  return { namespace, dir, flows, optionsOf, start }
}
