import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import { AGENT_PORT, probes } from '../../agent/cli/manifests/pod-spec.ts'

export { MOUNTS } from '../../agent/cli/manifests/pod-spec.ts'
export const { startup: STARTUP_PROBE, liveness: LIVENESS_PROBE } = probes(AGENT_PORT)

export const DEPLOY = join(import.meta.dirname, '../../deploy')

interface EnvVar {
  name: string
  value?: string
  valueFrom?: {
    fieldRef?: { fieldPath: string }
    secretKeyRef?: { name: string; key: string; optional?: boolean }
  }
}

interface Probe {
  httpGet: { path: string; port: string | number }
  periodSeconds?: number
  timeoutSeconds?: number
  failureThreshold?: number
}

export interface Container {
  name: string
  image: string
  imagePullPolicy?: string
  command?: string[]
  args?: string[]
  env?: EnvVar[]
  restartPolicy?: string
  ports?: { name: string; containerPort: number }[]
  volumeMounts: { name: string; mountPath: string; readOnly?: boolean }[]
  securityContext: Record<string, unknown>
  resources?: { requests?: Record<string, string>; limits?: Record<string, string> }
  readinessProbe?: Probe
  livenessProbe?: Probe
  startupProbe?: Probe
}

export interface PodSpec {
  serviceAccountName: string
  automountServiceAccountToken: boolean
  enableServiceLinks?: boolean
  terminationGracePeriodSeconds: number
  securityContext: Record<string, unknown>
  initContainers: Container[]
  containers: Container[]
  volumes: { name: string; emptyDir?: object; projected?: { sources: Record<string, unknown>[] } }[]
}

export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; labels?: Record<string, string>; annotations?: Record<string, string> }
  // biome-ignore lint/suspicious/noExplicitAny: each kind has its own fields, and a test reads only the fields that it names.
  [field: string]: any
}

/** Parses a stream as kubectl does, which supports the merge keys of YAML 1.1. */
export function manifestsIn(text: string): Manifest[] {
  const documents = parseAllDocuments(text, { merge: true }).map((document) => {
    if (document.errors[0] !== undefined) throw document.errors[0]
    return document.toJS() as Manifest | null
  })
  return documents.filter((manifest) => manifest !== null)
}

export function plainManifests(file: string): Manifest[] {
  return manifestsIn(readFileSync(join(DEPLOY, file), 'utf8'))
}

export function only(manifests: Iterable<Manifest>, kind: string, name?: string): Manifest {
  const found = [...manifests].filter(
    (manifest) => manifest.kind === kind && (name ?? manifest.metadata.name) === manifest.metadata.name,
  )
  if (found.length !== 1)
    throw new Error(
      `expected one ${kind}${name === undefined ? '' : ` named ${name}`}, found ${found.length}`,
    )
  return found[0] as Manifest
}

export function named<T extends { name: string }>(list: readonly T[], name: string): T {
  const found = list.find((one) => one.name === name)
  if (found === undefined) throw new Error(`no item of the list is named ${name}`)
  return found
}
