import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DEPLOY, manifestsIn } from '../../deploy/manifests.ts'
import { injected } from '../inject/streams.ts'
import { ManifestSet } from './manifest-set.ts'

/**
 * Installations without a mistake: `production` with fronts and warm standbys, `smallest` with readiness and cold standbys,
 * and the output of `inject` for a Deployment (`injected`, `injected-front`) and a StatefulSet.
 */
export const BASES = ['production', 'smallest', 'injected', 'injected-front', 'stateful-set'] as const
export type Base = (typeof BASES)[number]

/** As the README creates it. */
const SECRET = `
apiVersion: v1
kind: Secret
metadata: { name: langflow }
stringData:
  secret-key: ${'k'.repeat(42)}A=
  superuser-password: 6f1ed002ab5595859014ebf0951522d9
  database-url: postgresql://user:password@host/langflow
  s3-bucket: langflow-files
`

const PLAIN_SECRET = `
apiVersion: v1
kind: Secret
metadata: { name: app }
stringData:
  LANGFLOW_SECRET_KEY: ${'k'.repeat(42)}A=
  LANGFLOW_SUPERUSER_PASSWORD: 6f1ed002ab5595859014ebf0951522d9
  LANGFLOW_DATABASE_URL: postgresql://user:password@host/app
  LANGFLOW_STORAGE_TYPE: s3
  LANGFLOW_OBJECT_STORAGE_BUCKET_NAME: app-files
`

const PARALLEL = `
  serviceName: app-members
  podManagementPolicy: Parallel
  updateStrategy: { rollingUpdate: { maxUnavailable: 1 } }
`

const plain = (kind: 'Deployment' | 'StatefulSet', host: string) => `
apiVersion: v1
kind: Service
metadata: { name: app }
spec:
  selector: { app: flows }
  ports: [{ name: http, port: 80, targetPort: http }]
---
apiVersion: apps/v1
kind: ${kind}
metadata: { name: app }
spec:
  replicas: 2
${kind === 'StatefulSet' ? PARALLEL : ''}  selector: { matchLabels: { app: flows } }
  template:
    metadata: { labels: { app: flows } }
    spec:
      enableServiceLinks: false
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: { matchLabels: { app: flows } }
      securityContext: { runAsUser: 1000, fsGroup: 1000 }
      containers:
        - name: langflow
          image: langflowai/langflow:1.13.0
          command: [langflow, run, --host, "${host}", --port, "7860"]
          envFrom: [{ secretRef: { name: app } }]
          env: [{ name: LANGFLOW_CONFIG_DIR, value: /app/data }]
          ports: [{ name: http, containerPort: 7860 }]
          resources:
            requests: { cpu: 500m, memory: 1Gi }
            limits: { memory: 3Gi }
`

/** The text of a base. Nothing else reads the files. */
function textOf(base: Base): string {
  const rendered = (name: string) => `${readFileSync(join(DEPLOY, `${name}.yaml`), 'utf8')}\n---\n${SECRET}`
  const withAgent = (kind: 'Deployment' | 'StatefulSet', traffic: 'readiness' | 'front') => {
    const front = traffic === 'front'
    const text = plain(kind, front ? '127.0.0.1' : '0.0.0.0')
    return `${injected(text, { traffic, standby: front ? 'warm' : 'cold' })}\n---\n${PLAIN_SECRET}`
  }
  switch (base) {
    case 'production':
      return rendered('langflow-production')
    case 'smallest':
      return rendered('langflow')
    case 'injected':
      return withAgent('Deployment', 'readiness')
    case 'injected-front':
      return withAgent('Deployment', 'front')
    case 'stateful-set':
      return withAgent('StatefulSet', 'readiness')
  }
}

const read = new Map<Base, object[]>()

/** A copy of a base, which the caller may edit. */
export function sound(base: Base): ManifestSet {
  if (!read.has(base)) read.set(base, manifestsIn(textOf(base)))
  return new ManifestSet(read.get(base)!)
}
