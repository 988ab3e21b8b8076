/** What the downward API tells of this agent's pod; `null` where it was not asked to. */
export interface Pod {
  readonly name: string | null
  readonly uid: string | null
  readonly ip: string | null
  /** Which version of the template the pod was made from: the same for all pods of one rollout. */
  readonly revision: string | null
  /** What made the pod, as `Deployment/name` or `StatefulSet/name`. */
  readonly owner: string | null
  /** What its manifest lacks, and what follows from it; `null`: nothing. */
  readonly problem: string | null
}

/** What this replica was told otherwise, or does without. */
export interface Otherwise {
  /** It was given an identity. */
  readonly named: boolean
  /** It asks other replicas. */
  readonly hasPeers: boolean
}

export function podOf(env: NodeJS.ProcessEnv, otherwise: Otherwise): Pod {
  const said = (name: string) => env[name] || null
  const name = said('POD_NAME')
  const template = said('POD_TEMPLATE_HASH')
  const controller = said('CONTROLLER_REVISION_HASH')
  return {
    name,
    uid: said('POD_UID'),
    ip: said('POD_IP'),
    revision: template ?? controller,
    owner: name === null ? null : ownerOf(name, template, controller),
    problem: env.KUBERNETES_SERVICE_HOST ? lackOf(env, otherwise) : null,
  }
}

function lackOf(env: NodeJS.ProcessEnv, { named, hasPeers }: Otherwise): string | null {
  if (!env.POD_NAME && !named)
    return (
      'this pod does not say who it is: add POD_NAME (metadata.name) and POD_UID (metadata.uid) to the agent’s env by ' +
      'valueFrom.fieldRef; without them a restarted agent cannot take its term back, and LangFlow is restarted with it'
    )
  // Asked for and empty: there is none, as in a pod of its own.
  if (!hasPeers || env.POD_TEMPLATE_HASH !== undefined || env.CONTROLLER_REVISION_HASH !== undefined)
    return null
  return (
    "this pod does not say of which revision it is: add POD_TEMPLATE_HASH (metadata.labels['pod-template-hash']) and " +
    "CONTROLLER_REVISION_HASH (metadata.labels['controller-revision-hash']) to the agent’s env by valueFrom.fieldRef; " +
    'without them no leader makes way for a newer revision, and a rollout may not end'
  )
}

/** By the names that the controllers give; a name so long that they cut it tells nothing. */
function ownerOf(pod: string, template: string | null, controller: string | null): string | null {
  if (template !== null) {
    const end = pod.lastIndexOf(`-${template}-`)
    return end > 0 ? `Deployment/${pod.slice(0, end)}` : null
  }
  const [, set] = /^(.+)-\d+$/.exec(pod) ?? []
  return set !== undefined && controller?.startsWith(`${set}-`) ? `StatefulSet/${set}` : null
}
