import { resolve } from 'node:path'
import { AGENT_SETTINGS } from '../config/schema.ts'
import { choice, group, optional } from '../config/setting.ts'

// The flags that commands for people share: `addFlags(command, { ...CLUSTER_SETTINGS, … })`.

const { fallback: _, ...LEASE_NAME } = AGENT_SETTINGS.leaseName

export const CLUSTER_SETTINGS = group('Cluster', {
  leaseName: { ...LEASE_NAME, otherwise: "the namespace's only Lease of langflow-leader" },
  leaseNamespace: {
    ...AGENT_SETTINGS.leaseNamespace,
    otherwise: "the kubeconfig's, or the pod's own",
    short: '-n',
    long: '--namespace',
  },
  // A person may type a path relative to the working directory. The agent requires an absolute path.
  kubeconfig: { ...AGENT_SETTINGS.kubeconfig, parse: (text: string) => resolve(text) },
  context: optional('<name>', 'the current context', 'the context of the kubeconfig', (text) => text),
})

/** For commands that also ask the replicas. */
export const OPERATE_SETTINGS = {
  ...CLUSTER_SETTINGS,
  ...group('Cluster', {
    url: optional(
      '<url>',
      'each agent is asked through the API server',
      'the address of one agent, which reports all replicas; status and history then need no API server',
      parseUrl,
    ),
  }),
}

export const OUTPUT_SETTINGS = group('Output', {
  output: { ...choice(['table', 'json', 'yaml'], 'the output format'), short: '-o' },
})

export function parseUrl(text: string): URL {
  const url = URL.parse(text)
  if (url !== null && /^https?:$/.test(url.protocol)) return url
  throw new Error('use an http or https URL, such as http://127.0.0.1:8090')
}
