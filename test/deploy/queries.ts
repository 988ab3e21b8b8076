import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { DEPLOY } from './manifests.ts'

const MONITORING = join(DEPLOY, 'chart/files')
export const RULES = join(MONITORING, 'alerts.yaml')
const DASHBOARD = join(MONITORING, 'dashboard.json')

/** An alerting rule has all fields except `record`. A recording rule has only `record` and `expr`. */
export interface Rule {
  alert?: string
  record?: string
  expr: string
  for?: string
  labels: { severity: string }
  annotations: { summary: string; description: string; runbook_url: string }
}

export function rules(): Rule[] {
  const { groups } = parse(readFileSync(RULES, 'utf8')) as { groups: { rules: Rule[] }[] }
  return groups.flatMap((group) => group.rules)
}

interface Dashboard {
  panels: { title: string; targets?: { refId: string; expr: string }[] }[]
  templating: { list: { name: string; definition?: string }[] }
  annotations: { list: { name: string; expr: string }[] }
}

export function dashboard(): Dashboard {
  return JSON.parse(readFileSync(DASHBOARD, 'utf8')) as Dashboard
}

export function dashboardQueries({ panels, annotations }: Dashboard = dashboard()): [string, string][] {
  return [
    ...panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ refId, expr }): [string, string] => [`${title}, ${refId}`, expr]),
    ),
    ...annotations.list.map(({ name, expr }): [string, string] => [name, expr]),
  ]
}

/** Replaces variables in a query as Grafana does. */
export function filled(query: string, values: Readonly<Record<string, string>>): string {
  return query.replaceAll(/\$(\w+)/g, (whole, name: string) => values[name] ?? whole)
}

/** The metrics of a query that agents expose, without recorded series and those of Prometheus itself. */
export function metricsIn(query: string): string[] {
  return query.match(/\b(?:langflow_leader|leader_election|process)_\w+/g) ?? []
}
