import type { Command } from 'commander'
import { addExamples } from '../../config/command-line.ts'
import { addSettings, choice, flagOf, group, optional, readSettings } from '../../config/setting.ts'
import { parseNamespace } from '../../config/values.ts'
import type { ClusterOptions } from '../cluster.ts'
import { CLUSTER_SETTINGS, OUTPUT_SETTINGS } from '../cluster-settings.ts'
import { addFilenames, readFilenames } from '../manifests/filename-option.ts'
import type { Format } from '../output.ts'
import type { Severity } from './rule.ts'

const { fallback: _, ...LEASE_NAME } = CLUSTER_SETTINGS.leaseName

const CHECK_SETTINGS = {
  ...group('Check', {
    container: optional('<name>', 'the one that runs LangFlow', "LangFlow's container", parseNamespace),
    failOn: choice(['error', 'warning'], 'what exit code 1 is for'),
  }),
  ...CLUSTER_SETTINGS,
  leaseName: {
    ...LEASE_NAME,
    otherwise: 'that of every LangFlow in the namespace',
    about: 'only the LangFlow of this Lease',
  },
  ...OUTPUT_SETTINGS,
}

export interface CheckOptions {
  /** Manifests, in place of a cluster; `null`: a cluster. At least one. */
  readonly files: readonly string[] | null
  readonly cluster: Omit<ClusterOptions, 'leaseName'> & { readonly leaseName: string | null }
  /** `null`: the one that looks like LangFlow. */
  readonly container: string | null
  readonly failOn: Severity
  readonly output: Format
}

/** Adds the flags of `check` to its command, and returns what reads them: it ends with a usage error. */
export function checkOptions(command: Command): (env: NodeJS.ProcessEnv) => CheckOptions {
  addSettings(addFilenames(command), CHECK_SETTINGS)
  addExamples(command, [
    ['Look at what runs in a namespace, and at its API server', '--lease-namespace langflow'],
    ['Look at manifests, without a cluster', '-f langflow.yaml'],
    ['Look at what kustomize makes, in CI', '-f - --fail-on warning < manifests.yaml'],
    ['For a program', '-o json'],
  ])
  return (env) => {
    const files = readFilenames(command)
    const { container, failOn, output, ...cluster } = readSettings(command, CHECK_SETTINGS, env)
    const useless = Object.keys(cluster).find((key) => command.getOptionValue(key) !== undefined)
    if (files !== null && useless !== undefined)
      command.error(`${flagOf(useless)} means nothing to --filename, which asks no cluster: leave one out`)
    return { files, cluster, container, failOn, output }
  }
}
