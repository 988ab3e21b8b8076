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

/** @param named whether this replica has a name that it was given otherwise */
export function podOf(env: NodeJS.ProcessEnv, named = false): Pod {
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
    problem: name === null && !named && env.KUBERNETES_SERVICE_HOST ? NAMELESS : null,
  }
}

const NAMELESS =
  'this pod does not say who it is: add POD_NAME (metadata.name) and POD_UID (metadata.uid) to the agent’s env by ' +
  'valueFrom.fieldRef; without them a restarted agent cannot take its term back, and LangFlow is restarted with it'

/** By the names that the controllers give; a name so long that they cut it tells nothing. */
function ownerOf(pod: string, template: string | null, controller: string | null): string | null {
  if (template !== null) {
    const end = pod.lastIndexOf(`-${template}-`)
    return end > 0 ? `Deployment/${pod.slice(0, end)}` : null
  }
  const set = controller === null ? null : /^(.+)-\d+$/.exec(pod)
  return set === null ? null : `StatefulSet/${set[1]}`
}
