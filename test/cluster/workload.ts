import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Manifest, named } from '../deploy/manifests.ts'
import type { Asked } from '../harness/client.ts'
import { mono } from '../harness/wait.ts'

export type Traffic = 'readiness' | 'front'

/** The answer of a stand-in, which describes itself. */
export interface Answer {
  readonly replica: string
  readonly epoch: number
  readonly pid: number
  /** The time of the answer: CLOCK_MONOTONIC in ms. */
  readonly mono: number
  /** The text of the flow that it was started with. */
  readonly shown?: string
}

const FILE = 'workload.mjs'
const NODE_IMAGE = 'docker.io/library/node:24-bookworm-slim'
/** The names that image-archive.ts gives to its images. */
export const POSTGRES_IMAGE = 'localhost/postgres:15'
export const GIT_SYNC_IMAGE = 'localhost/git-sync:4'

/** The program in LangFlow's container, and the requests to it. */
export interface Workload {
  readonly path: string
  readonly asked?: Asked
  /** The timeout of a request. By default, it depends on the traffic mode. */
  readonly withinMs?: number
  readonly read: (text: string) => Answer
  /** Changes LangFlow's Deployment, and returns the objects that it needs too. `collector` gets the beats: HOST:PORT. */
  readonly prepare: (deployment: Manifest, collector: string) => Manifest[]
  /** Time limit for the first leader to serve. */
  readonly startMs: number
}

function configMap(name: string, data: Readonly<Record<string, string>>): Manifest {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data }
}

/** A stand-in that names its replica and epoch in each answer, and sends a beat to the collector while it executes. */
export const STAND_IN: Workload = {
  path: '/',
  read: (text) => JSON.parse(text) as Answer,
  startMs: 60_000,
  prepare({ spec: { template } }, collector) {
    const langflow = named<Manifest['spec']>(template.spec.containers, 'langflow')
    langflow.image = NODE_IMAGE
    langflow.args = ['node', `/stand-in/${FILE}`, '7860', `udp:${collector}`, 'parent', 'start=1000']
    langflow.volumeMounts.push({ name: 'stand-in', mountPath: '/stand-in', readOnly: true })
    template.spec.volumes.push({ name: 'stand-in', configMap: { name: 'stand-in' } })
    const text = readFileSync(join(import.meta.dirname, '../harness', FILE), 'utf8')
    return [configMap('stand-in', { [FILE]: text })]
  },
}

/** The real LangFlow, whose answers contain neither replica nor epoch. */
export const LANGFLOW: Workload = {
  path: '/health_check',
  // With a longer timeout, requests would pile up in a busy LangFlow.
  withinMs: 5_000,
  read(text) {
    const { status } = JSON.parse(text) as { status: string }
    if (status !== 'ok') throw new Error(`LangFlow answered ${text}`)
    return { replica: '', epoch: 0, pid: 0, mono: mono() }
  },
  startMs: 120_000,
  prepare({ spec: { template } }) {
    named<Manifest['spec']>(template.spec.containers, 'langflow').env.push(
      { name: 'DO_NOT_TRACK', value: 'true' },
      { name: 'LANGFLOW_AUTO_LOGIN', value: 'true' },
      { name: 'LANGFLOW_CREATE_STARTER_PROJECTS', value: 'false' },
    )
    return []
  },
}

/** Reduces requests to fit a node of two cores, and prevents pulls. */
export function fitToNode(manifests: readonly Manifest[]): void {
  for (const { spec } of manifests.flatMap(({ spec }) => (spec?.template ? [spec.template] : [])))
    for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
      container.imagePullPolicy = 'Never'
      container.resources = { ...container.resources, requests: { cpu: '10m', memory: '32Mi' } }
      if (/\/postgres:/.test(container.image)) container.image = POSTGRES_IMAGE
      if (/\/git-sync:/.test(container.image)) container.image = GIT_SYNC_IMAGE
    }
}

const LABELS = { 'app.kubernetes.io/name': 'langflow', 'app.kubernetes.io/instance': 'langflow' }

/** A LangFlow as users deploy it without langflow-leader, under restricted Pod Security. */
export function plainLangflow(): Manifest[] {
  const container = {
    name: 'langflow',
    image: 'docker.io/langflowai/langflow:1.13.0',
    // `env` executes the program in `args`.
    command: ['env'],
    args: ['langflow', 'run'],
    env: [],
    ports: [{ containerPort: 7860 }],
    readinessProbe: { httpGet: { path: '/health', port: 7860 }, periodSeconds: 1 },
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
    volumeMounts: [],
  }
  const securityContext = { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } }
  const metadata = { name: 'langflow', labels: LABELS }
  const template = {
    metadata: { labels: LABELS, annotations: {} },
    spec: { securityContext, containers: [container], volumes: [] },
  }
  const strategy = { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } }
  const spec = { replicas: 2, minReadySeconds: 5, selector: { matchLabels: LABELS }, strategy, template }
  return [
    { apiVersion: 'apps/v1', kind: 'Deployment', metadata, spec },
    { apiVersion: 'v1', kind: 'Service', metadata, spec: { selector: LABELS, ports: [{ port: 7860 }] } },
  ]
}
