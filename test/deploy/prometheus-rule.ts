// npm run alerts: copies the rules of deploy/components/monitoring into an object of the Prometheus Operator, because
// kustomize can't put a file into a field.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DEPLOY } from './manifests.ts'
import { RULES } from './queries.ts'

export const PROMETHEUS_RULE = join(DEPLOY, 'components/monitoring-operator/prometheus-rule.yaml')
const HEAD = `# Written by npm run alerts from ../monitoring/alerts.yaml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: langflow-leader
spec:
`

/** The text of the PrometheusRule. */
export function prometheusRule(): string {
  const rules = readFileSync(RULES, 'utf8')
  return `${HEAD}${rules.slice(rules.indexOf('groups:')).replaceAll(/^(?=.)/gm, '  ')}`
}

if (import.meta.main) writeFileSync(PROMETHEUS_RULE, prometheusRule())
