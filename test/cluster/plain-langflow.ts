import type { Manifest } from './objects.ts'

const LABELS = { 'app.kubernetes.io/name': 'langflow' }

/** A LangFlow as somebody deploys it who has never heard of an agent; under restricted Pod Security. */
export function plainLangflow(): Manifest[] {
  const container = {
    name: 'langflow',
    image: 'docker.io/langflowai/langflow:1.13.0',
    // Passes on to what `args` say.
    command: ['env'],
    args: ['langflow', 'run'],
    env: [],
    ports: [{ containerPort: 7860 }],
    readinessProbe: { httpGet: { path: '/health', port: 7860 }, periodSeconds: 1 },
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
    volumeMounts: [],
  }
  const securityContext = { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } }
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'langflow', labels: LABELS },
      spec: {
        selector: { matchLabels: LABELS },
        strategy: { rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } },
        template: {
          metadata: { labels: LABELS, annotations: {} },
          spec: { securityContext, containers: [container], volumes: [] },
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'langflow', labels: LABELS },
      spec: { selector: LABELS, ports: [{ port: 7860 }] },
    },
  ]
}
