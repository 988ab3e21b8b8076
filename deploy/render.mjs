// npm run manifests: renders the plain files from the chart, for clusters without Helm. Needs helm ($HELM4, or `helm` of PATH).
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

const CHART = join(import.meta.dirname, 'chart')
const SECRET = 'the Secret `langflow` (docs/guide/install.md)'

/** The plain files: the comment at their head, and the values of the chart. */
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

/** The text of a plain file, as one `helm` renders it. Each version of Helm separates the objects by other empty lines. */
export function render(name, helm) {
  const { head, values } = FILES[name]
  const args = ['template', 'langflow', CHART, '--values=-', '--kube-version=1.37.0']
  const text = execFileSync(helm, args, { encoding: 'utf8', input: JSON.stringify(values) })
  const objects = text.replaceAll(/^# Source: .*\n/gm, '').replaceAll(/\n*^---\n/gm, '\n---\n')
  return `# Rendered from deploy/chart by npm run manifests: use the chart if you have Helm.\n${head}${objects.trimEnd()}\n`
}

if (import.meta.main)
  for (const name of Object.keys(FILES))
    writeFileSync(join(import.meta.dirname, name), render(name, process.env.HELM4 ?? 'helm'))
