import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ControlPlane } from './control-plane.ts'

const BASE = join(import.meta.dirname, '../../deploy/base')
/** What deploy/base calls the ServiceAccount. */
export const ACCOUNT = 'langflow-leader'

/** Applies the Lease and the rights of deploy/base, and returns a kubeconfig with a bound token of its ServiceAccount. */
export async function deployRights(plane: ControlPlane, namespace: string): Promise<string> {
  for (const file of ['service-account', 'role', 'role-binding', 'lease']) {
    await plane.kubectl(
      ['apply', `--namespace=${namespace}`, '-f', '-'],
      readFileSync(join(BASE, `${file}.yaml`), 'utf8'),
    )
  }
  return plane.serviceAccountKubeconfig(namespace, ACCOUNT, { duration: '1h' })
}
