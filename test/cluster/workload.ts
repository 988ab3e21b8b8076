import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { mono } from '../harness/wait.ts'
import type { Answer } from './lease-history.ts'
import type { Manifest } from './objects.ts'
import { pick } from './objects.ts'

export type Kind = 'Deployment' | 'StatefulSet'
export type Traffic = 'readiness' | 'label' | 'slice'

const PRODUCTION = join(import.meta.dirname, '../../deploy/production/deployment.yaml')
const FILE = 'workload.mjs'
const NODE_IMAGE = 'docker.io/library/node:24-bookworm-slim'

/** What runs in the place of LangFlow, and how it is asked. */
export interface Workload {
  readonly path: string
  readonly read: (text: string) => Answer
  /** `collector`: where signs of life go, as HOST:PORT. */
  readonly prepare: (manifests: readonly Manifest[], collector: string) => Manifest[]
  /** How long the first leader may need. */
  readonly startMs: number
}

/** Names its replica and epoch in each answer, and tells the collector whenever it executes. */
export const STAND_IN: Workload = {
  path: '/',
  read: (text) => JSON.parse(text) as Answer,
  startMs: 60_000,
  prepare(manifests, collector) {
    const { spec } = pick(manifests, 'Deployment', 'langflow').spec.template
    const langflow = named(spec.containers, 'langflow')
    langflow.image = NODE_IMAGE
    langflow.args = ['node', `/stand-in/${FILE}`, '7860', `udp:${collector}`, 'parent', 'start=1000']
    langflow.volumeMounts.push({ name: 'stand-in', mountPath: '/stand-in', readOnly: true })
    spec.volumes.push({ name: 'stand-in', configMap: { name: 'stand-in' } })
    const data = { [FILE]: readFileSync(join(import.meta.dirname, '../harness', FILE), 'utf8') }
    return [...manifests, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'stand-in' }, data }]
  },
}

/** The real one. Its answers tell neither replica nor epoch. */
export const LANGFLOW: Workload = {
  path: '/health_check',
  read(text) {
    const { status } = JSON.parse(text) as { status: string }
    if (status !== 'ok') throw new Error(`LangFlow says ${text}`)
    return { replica: '', epoch: 0, pid: 0, mono: mono() }
  },
  startMs: 120_000,
  prepare(manifests) {
    const { spec } = pick(manifests, 'Deployment', 'langflow').spec.template
    named(spec.containers, 'langflow').env.push(
      { name: 'DO_NOT_TRACK', value: 'true' },
      { name: 'LANGFLOW_AUTO_LOGIN', value: 'true' },
      { name: 'LANGFLOW_CREATE_STARTER_PROJECTS', value: 'false' },
    )
    return [...manifests]
  },
}

/** Fits a node of two cores, and never pulls. */
export function fitToNode(manifests: readonly Manifest[]): void {
  for (const { spec } of manifests.flatMap(({ spec }) => (spec?.template ? [spec.template] : [])))
    for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
      container.imagePullPolicy = 'Never'
      container.resources = { ...container.resources, requests: { cpu: '10m', memory: '32Mi' } }
    }
}

/** How many replicas, and how a rollout replaces them. */
export function scaled(manifests: readonly Manifest[], replicas: number, traffic: Traffic): void {
  const { spec } = pick(manifests, 'Deployment', 'langflow')
  spec.replicas = replicas
  if (traffic === 'readiness') {
    // Only the leader is ever available: what waits has to go first, and all of it at once.
    spec.strategy.rollingUpdate.maxUnavailable = Math.max(1, replicas - 1)
  } else {
    const { strategy, minReadySeconds } = productionSpec()
    Object.assign(spec, { strategy: { type: 'RollingUpdate', ...strategy }, minReadySeconds })
  }
}

/** The same pods by a StatefulSet, as the charts of LangFlow make them. */
export function asStatefulSet(manifests: readonly Manifest[], traffic: Traffic): Manifest[] {
  const deployment = pick(manifests, 'Deployment', 'langflow')
  const { strategy: _, progressDeadlineSeconds: __, replicas, ...spec } = deployment.spec
  const byReadiness = traffic === 'readiness'
  const maxUnavailable = byReadiness ? Math.max(1, replicas - 1) : 1
  const set: Manifest = {
    ...deployment,
    kind: 'StatefulSet',
    spec: {
      ...spec,
      replicas,
      serviceName: 'langflow-members',
      // As the components for traffic have it: in parallel a leader that has yet to start LangFlow would be replaced next.
      podManagementPolicy: byReadiness ? 'Parallel' : 'OrderedReady',
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable } },
    },
  }
  return manifests.map((one) => (one === deployment ? set : one))
}

/** How deploy/production rolls out. */
function productionSpec(): { strategy: object; minReadySeconds: number } {
  return (parse(readFileSync(PRODUCTION, 'utf8')) as Manifest).spec
}

// biome-ignore lint/suspicious/noExplicitAny: a container of a manifest.
export function named(list: readonly any[], name: string): any {
  const found = list.find((one) => one.name === name)
  if (found === undefined) throw new Error(`nothing is named ${name}`)
  return found
}
