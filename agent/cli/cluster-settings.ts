import { resolve } from 'node:path'
import { AGENT_SETTINGS } from '../config/agent-settings.ts'
import { choice, group, optional } from '../config/setting.ts'

// The flags that the commands for people share: `addFlags(command, { ...CLUSTER_SETTINGS, … })`.

/** Which Lease, and with whose rights. */
export const CLUSTER_SETTINGS = group('Cluster', {
  leaseName: AGENT_SETTINGS.leaseName,
  leaseNamespace: {
    ...AGENT_SETTINGS.leaseNamespace,
    otherwise: "the kubeconfig's, or the pod's own",
    short: '-n',
  },
  // A person types a path that starts in the working directory, an agent's is absolute.
  kubeconfig: { ...AGENT_SETTINGS.kubeconfig, parse: (text: string) => resolve(text) },
  context: optional('<name>', 'the current one', 'which context of the kubeconfig', (text) => text),
})

/** The same for commands that ask the replicas as well. */
export const OPERATE_SETTINGS = {
  ...CLUSTER_SETTINGS,
  ...group('Cluster', {
    url: optional(
      '<url>',
      'each pod is asked through the API server',
      "one replica's agent, which reports itself and its peers; for status and history instead of a cluster",
      parseUrl,
    ),
  }),
}

/** How the answer is printed. */
export const OUTPUT_SETTINGS = group('Output', {
  output: {
    ...choice(['table', 'json', 'yaml'], 'how it is printed: for people, or for programs'),
    short: '-o',
  },
})

export function parseUrl(text: string): URL {
  const url = URL.parse(text)
  if (url !== null && /^https?:$/.test(url.protocol)) return url
  throw new Error('write it as an http or https URL, such as http://127.0.0.1:8090')
}
