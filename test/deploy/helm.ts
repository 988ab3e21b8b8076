import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DEPLOY, manifestsIn } from './manifests.ts'

export const CHART = join(DEPLOY, 'chart')

export type Values = Readonly<Record<string, unknown>>

/** The supported major versions of Helm. */
export const VERSIONS = [3, 4] as const
export type Version = (typeof VERSIONS)[number]

const HOW_TO = {
  3: 'set HELM3 to helm 3: GOBIN=DIRECTORY go install helm.sh/helm/v3/cmd/helm@v3.22.0',
  4: 'set HELM4 to helm 4: GOBIN=DIRECTORY go install helm.sh/helm/v4/cmd/helm@v4.3.1',
}
/** A helm that `go install` builds takes an old version of Kubernetes for that of a missing cluster. */
const KUBE_VERSION = '--kube-version=1.37.0'

export function helmProgram(version: Version): string {
  const program = process.env[`HELM${version}`]
  if (!program) throw new Error(HOW_TO[version])
  return program
}

export async function helm(version: Version, args: readonly string[], values: Values = {}): Promise<string> {
  const home = mkdtempSync(join(tmpdir(), 'helm-'))
  const own = { HELM_CACHE_HOME: home, HELM_CONFIG_HOME: home, HELM_DATA_HOME: home }
  const options = { env: { ...process.env, ...own }, maxBuffer: 2 ** 26 }
  try {
    return await new Promise((resolve, reject) => {
      const child = execFile(helmProgram(version), args, options, (error, stdout, stderr) => {
        if (error === null) resolve(stdout)
        else reject(new Error(`helm ${args[0]}: ${stderr.trim() || stdout.trim() || error.message}`))
      })
      child.stdin?.on('error', () => {}).end(JSON.stringify(values))
    })
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
}

/** Without `more`, the objects that an installation makes, so not the pod of `helm test`. */
export async function rendered(
  values: Values,
  version: Version = 4,
  release = 'langflow',
  more = ['--skip-tests'],
) {
  const args = ['template', release, CHART, '--values=-', KUBE_VERSION, ...more]
  const text = await helm(version, args, values)
  return { text, manifests: manifestsIn(text) }
}

export const withTest = (values: Values, version: Version = 4) => rendered(values, version, 'langflow', [])
