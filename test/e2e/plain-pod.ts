import type { Container, Manifest, PodSpec } from '../deploy/manifests.ts'

/** As the API server answers. */
export interface Pod extends Manifest {
  spec: PodSpec
}

/** A pod with LangFlow as others deploy it. `more`: what is otherwise in its spec, or in LangFlow's container. */
export function plainPod(
  more: { spec?: object; langflow?: object; annotations?: object; labelled?: boolean } = {},
) {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'one',
      labels: more.labelled === false ? {} : { 'langflow-leader/inject': 'true' },
      annotations: more.annotations ?? {},
    },
    spec: {
      containers: [
        {
          name: 'langflow',
          image: 'langflowai/langflow:1.13.0',
          command: ['langflow', 'run'],
          args: ['--port', '7860'],
          readinessProbe: { httpGet: { path: '/health', port: 7860 } },
          ...more.langflow,
        },
      ],
      ...more.spec,
    },
  }
}

/** The same pod, with lists whose order means nothing sorted. */
export function inOrder(spec: PodSpec) {
  const byName = <T extends { name: string }>(list: readonly T[] = []) =>
    [...list].sort((a, b) => a.name.localeCompare(b.name))
  const sorted = (containers: readonly Container[]) =>
    containers.map((one) => ({ ...one, env: byName(one.env), volumeMounts: byName(one.volumeMounts) }))
  return {
    ...spec,
    volumes: byName(spec.volumes),
    initContainers: sorted(spec.initContainers),
    containers: sorted(spec.containers),
  }
}
