import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inject } from '../../../agent/cli/inject/inject.ts'
import type { InjectOptions } from '../../../agent/cli/inject/inject-command.ts'
import { parseStream } from '../../../agent/cli/manifests/manifest-stream.ts'
import {
  type Container,
  type Manifest,
  manifestsIn,
  named,
  only,
  type PodSpec,
} from '../../deploy/manifests.ts'

export const DEFAULTS: InjectOptions = {
  container: null,
  image: 'registry.example.org/langflow-leader:1.2.3',
  traffic: 'readiness',
  standby: 'cold',
  reportsLostPods: false,
  leaseName: null,
  targetPort: null,
  agentVariables: [],
  launcherVariables: [],
  port: 8090,
  frontPort: 8091,
  endMs: 45_000,
  frontMs: 0,
}

export type Options = Partial<InjectOptions>

function withDefaults(options: Options): InjectOptions {
  const frontMs = options.traffic === 'front' ? 60_000 : 0
  return { ...DEFAULTS, frontMs, ...options }
}

/** Workloads like those of LangFlow's charts, and the real output of these charts (`langflow-ide`, `langflow-runtime`). */
export function fixture(
  name: 'stateful-backend' | 'runtime-deployment' | 'langflow-ide' | 'langflow-runtime',
): string {
  return readFileSync(join(import.meta.dirname, 'fixtures', `${name}.yaml`), 'utf8')
}

export function asStream(text: string) {
  return parseStream(text, 'app.yaml')
}

export function injected(text: string, options: Options = {}): string {
  return inject(asStream(text), withDefaults(options)).text
}

export function warningsOf(text: string, options: Options = {}): readonly string[] {
  return inject(asStream(text), withDefaults(options)).warnings
}

export function find(text: string, kind: string, name?: string): Manifest {
  return only(manifestsIn(text), kind, name)
}

export function podOf(text: string, kind = 'Deployment', name?: string): PodSpec {
  return find(text, kind, name).spec.template.spec
}

export function agentOf(pod: PodSpec): Container {
  return named(pod.initContainers, 'agent')
}

export function variable(container: Container, name: string): string | undefined {
  return container.env?.find((one) => one.name === name)?.value
}

/** A Deployment with one container. Each option is one line of YAML that is added at its place. */
export function deployment({
  container = '',
  pod = '',
  spec = '',
  metadata = '',
  command = 'command: [langflow, run]',
} = {}) {
  return `apiVersion: apps/v1
kind: Deployment
metadata: { name: app${metadata} }
spec:
  replicas: 2
  selector: { matchLabels: { app: flows } }
${spec && `  ${spec}\n`}  template:
    metadata: { labels: { app: flows } }
    spec:
${pod && `      ${pod}\n`}      containers:
        - name: langflow
          image: langflowai/langflow:1.13.0
          envFrom: [{ secretRef: { name: flows } }]
${command && `          ${command}\n`}${container && `          ${container}\n`}`
}
