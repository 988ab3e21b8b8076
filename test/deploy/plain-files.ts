// npm run manifests: renders the plain files from the chart, for clusters without Helm, and the chart's README from its values.
// Needs Helm 4 in $HELM4.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chartReadme, README } from './chart-readme.ts'
import { rendered, type Version } from './helm.ts'
import { DEPLOY } from './manifests.ts'

const SECRET = 'the Secret `langflow` (docs/guide/install.md)'

export const FILES = {
  'langflow.yaml': {
    head: `# The smallest installation: clients repeat requests that fail in a takeover, and users upload no files. It needs PostgreSQL and
# ${SECRET}.`,
    values: {
      secret: { source: 'existing' },
      storage: { type: 'none' },
      traffic: 'readiness',
      standby: 'cold',
      monitoring: { annotations: false },
    },
  },
  'langflow-production.yaml': {
    head: `# For production: short requests wait during a handover instead of failing, tools can wait for rollouts, and nodes can be drained.
# Standbys are Ready and warm. It needs PostgreSQL, an S3 bucket and ${SECRET}.`,
    values: { secret: { source: 'existing' }, storage: { type: 's3' } },
  },
}

export type PlainFile = keyof typeof FILES
export const NAMES = Object.keys(FILES) as PlainFile[]

/** The text of a plain file. Each version of Helm separates the objects by other empty lines. */
export async function plainFile(name: PlainFile, version: Version): Promise<string> {
  const { head, values } = FILES[name]
  const { text } = await rendered(values, version)
  const objects = text
    .replaceAll(/^(# Source: | +helm\.sh\/chart: | +app\.kubernetes\.io\/managed-by: ).*\n/gm, '')
    .replaceAll(/\n*^---\n/gm, '\n---\n')
  return `# Rendered from deploy/chart by npm run manifests: use the chart if you have Helm.\n${head}${objects.trimEnd()}\n`
}

if (import.meta.main) {
  for (const name of NAMES) writeFileSync(join(DEPLOY, name), await plainFile(name, 4))
  writeFileSync(README, chartReadme())
}
