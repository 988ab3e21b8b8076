import { resolve } from 'node:path'
import { choice, group, optional } from '../config/setting.ts'
import { AGENT_SETTINGS } from '../config/settings.ts'

// What every command that operates is told, in the same words: `readSettings(command, { ...CLUSTER_SETTINGS, … }, env)`.

/** Which Lease, and with whose rights. */
export const CLUSTER_SETTINGS = group('Cluster', {
  leaseName: AGENT_SETTINGS.leaseName,
  leaseNamespace: {
    ...optional(
      '<namespace>',
      "the kubeconfig's, or the pod's own",
      AGENT_SETTINGS.leaseNamespace.about,
      AGENT_SETTINGS.leaseNamespace.parse,
    ),
    short: '-n',
  },
  kubeconfig: optional(
    '<file>',
    AGENT_SETTINGS.kubeconfig.otherwise,
    AGENT_SETTINGS.kubeconfig.about,
    // Typed by a person in a directory, other than an agent's.
    (text) => resolve(text),
  ),
  context: optional('<name>', 'the current one', 'which context of the kubeconfig', (text) => text),
})

/** How the answer is printed. */
export const OUTPUT_SETTINGS = group('Output', {
  output: {
    ...choice(['table', 'json', 'yaml'], 'how it is printed: for people, or for programs'),
    short: '-o',
  },
})
