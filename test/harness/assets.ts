import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const UNPACK = join(import.meta.dirname, '../../../shared/kubebuilder-assets/unpack')

const HOW_TO =
  'e2e tests need etcd, kube-apiserver and kubectl: set KUBEBUILDER_ASSETS to the directory that has them, e.g. ' +
  'export KUBEBUILDER_ASSETS="$(go run sigs.k8s.io/controller-runtime/tools/setup-envtest@latest use -p path)"'

/** The directory of the control plane's binaries. Throws one sentence that says how to get them. */
export function controlPlaneAssets(): string {
  const dir =
    process.env.KUBEBUILDER_ASSETS ||
    (existsSync(UNPACK) && execFileSync(UNPACK, { encoding: 'utf8' }).trim())
  if (!dir) throw new Error(HOW_TO)
  const missing = ['etcd', 'kube-apiserver', 'kubectl'].filter((name) => !existsSync(join(dir, name)))
  if (missing.length > 0) throw new Error(`${dir} has no ${missing.join(', ')}. ${HOW_TO}`)
  return dir
}
