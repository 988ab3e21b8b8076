import { check, type Finding, type Result } from '../../../agent/cli/check/check.ts'
import { factsOf } from '../../../agent/cli/check/installation.ts'
import type { ClusterFacts } from '../../../agent/cli/check/rule.ts'
import { type Fields, manifestOf } from '../../../agent/cli/manifests/manifest.ts'
import { manifestsIn } from '../../deploy/manifests.ts'
import { deployment, injected, type Options } from '../inject/streams.ts'

// biome-ignore lint/suspicious/noExplicitAny: the tests change any field that a rule reads.
export type Loose = any

const KEY = 'k'.repeat(42).concat('A=')
const SERVICE =
  'kind: Service\nmetadata: { name: flows }\nspec: { selector: { app: flows }, ports: [{ port: 7860 }] }\n'
const ENV = `env: [{ name: LANGFLOW_DATABASE_URL, value: "postgresql://db/flows" }, { name: LANGFLOW_SECRET_KEY, value: "${KEY}" }, { name: LANGFLOW_STORAGE_TYPE, value: s3 }, { name: LANGFLOW_SUPERUSER_PASSWORD, value: a-password }]`

/** A LangFlow without findings. */
export function healthy(options: Options = {}, kind = 'Deployment'): Fields[] {
  const plain = deployment({ container: ENV }).replace(
    '          envFrom: [{ secretRef: { name: flows } }]\n',
    '',
  )
  return manifestsIn(
    injected(`${SERVICE}---\n${plain.replace('kind: Deployment', `kind: ${kind}`)}`, options),
  )
}

/** A cluster without findings. */
export const QUIET: ClusterFacts = {
  version: '1.34',
  latency: { requests: 20, medianMs: 4, slowestMs: 30 },
  hidden: new Map(),
  grants: new Map(),
  leases: new Map([['app-leader', true]]),
}

export function resultsOf(
  objects: readonly object[],
  cluster: ClusterFacts | null = null,
  absent: ReadonlySet<string> = new Set(),
) {
  const manifests = objects.map((object) => manifestOf(object as Fields))
  return check({ ...factsOf(manifests, null, absent), cluster })
}

/** The findings, by the code of their rule. */
export function findingsIn(results: readonly Result[]): Record<string, readonly Finding[]> {
  const found = results.filter(({ findings }) => findings.length > 0)
  return Object.fromEntries(found.map(({ code, findings }) => [code, findings]))
}
