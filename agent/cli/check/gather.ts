import { type Clock, systemClock } from '../../clock.ts'
import { AGENT_SETTINGS } from '../../config/agent-settings.ts'
import { agentOptions } from '../../config/options.ts'
import { findAccess } from '../../kube/kube-access.ts'
import { ApiError } from '../../kube/kube-errors.ts'
import { type Kind, KubeObjects } from '../../kube/kube-objects.ts'
import { KubeRequests } from '../../kube/kube-requests.ts'
import { LEASE } from '../../lease/lease-api.ts'
import { VERSION } from '../../version.ts'
import type { ClusterOptions } from '../cluster.ts'
import { asOperationError } from '../exit-codes.ts'
import { asText, dig, type Manifest, manifestOf } from '../manifests/manifest.ts'
import { readWorkload } from '../manifests/workload.ts'
import { environmentOf, objectsNamedBy } from './container-environment.ts'
import { accountOf, factsOf, type Installation, read, readOptions } from './installation.ts'
import type { Facts, Latency } from './rule.ts'
import { AGENT_NEEDS, grantOf, type Right, rightOf } from './rules/cluster-rules.ts'

/** How long one request may take, in milliseconds. */
const DEADLINE_MS = 5_000
/** Enough for a median, and half a second on a usual connection. */
const LATENCY_REQUESTS = 20
/** The variables of LangFlow whose Secrets are read, if the caller may: their values are judged, and never shown. */
const READ_SECRETS = /^LANGFLOW_(SECRET_KEY|DATABASE_URL|AUTO_LOGIN)$/

export interface Wanted extends Omit<ClusterOptions, 'leaseName'> {
  /** Only the LangFlow of this Lease; `null`: every one. */
  readonly leaseName: string | null
  /** LangFlow's container; `null`: the one that looks like it. */
  readonly container: string | null
}

/**
 * Reads one namespace, and measures its API server, with the caller's rights. `env`: of this process; in an agent's pod it
 * holds that agent's settings. Rejects with `OperationError`.
 */
export async function gather(
  { kubeconfig, context, leaseNamespace, ...wanted }: Wanted,
  { env = process.env, clock = systemClock }: { env?: NodeJS.ProcessEnv; clock?: Clock } = {},
): Promise<Facts> {
  try {
    const access = await findAccess({
      kubeconfig: kubeconfig ?? undefined,
      context: context ?? undefined,
      env,
    })
    const namespace = leaseNamespace ?? access.namespace ?? 'default'
    const options = { access, namespace, clock, userAgent: `langflow-leader/${VERSION}` }
    const requests = new KubeRequests(options)
    const objects = new KubeObjects(options)
    try {
      return await new Inquiry({ ...wanted, namespace, clock, env }, requests, objects).facts()
    } finally {
      requests.close()
      objects.close()
    }
  } catch (error) {
    throw asOperationError(error)
  }
}

interface Question extends Pick<Wanted, 'leaseName' | 'container'> {
  readonly namespace: string
  readonly clock: Clock
  readonly env: NodeJS.ProcessEnv
}

/** Kind, plural and `apiVersion` of what is listed for the rules. */
const LISTED = [
  ['Deployment', 'deployments', 'apps/v1'],
  ['StatefulSet', 'statefulsets', 'apps/v1'],
  ['Rollout', 'rollouts', 'argoproj.io/v1alpha1'],
  ['Service', 'services', 'v1'],
  ['ServiceAccount', 'serviceaccounts', 'v1'],
  ['PersistentVolumeClaim', 'persistentvolumeclaims', 'v1'],
  ['NetworkPolicy', 'networkpolicies', 'networking.k8s.io/v1'],
  ['PodDisruptionBudget', 'poddisruptionbudgets', 'policy/v1'],
  ['HorizontalPodAutoscaler', 'horizontalpodautoscalers', 'autoscaling/v2'],
  ['Role', 'roles', 'rbac.authorization.k8s.io/v1'],
  ['RoleBinding', 'rolebindings', 'rbac.authorization.k8s.io/v1'],
] as const

class Inquiry {
  readonly #question: Question
  readonly #requests: KubeRequests
  readonly #objects: KubeObjects
  readonly #hidden = new Map<string, string>()
  readonly #absent = new Set<string>()

  constructor(question: Question, requests: KubeRequests, objects: KubeObjects) {
    this.#question = question
    this.#requests = requests
    this.#objects = objects
  }

  async facts(): Promise<Facts> {
    const { container, leaseName, namespace, env } = this.#question
    const version = await this.#version()
    const lists = LISTED.map(([kind, plural, apiVersion]) => this.#list(kind, plural, apiVersion))
    const manifests = (await Promise.all(lists)).flat()
    const named = await this.#named(factsOf(manifests, container).installations)
    const facts = factsOf([...manifests, ...named], container, this.#absent)
    const installations = facts.installations.filter(
      ({ agent }) => leaseName === null || (agent?.options?.leaseName ?? leaseName) === leaseName,
    )
    const account = await this.#account()
    const isInPod = Boolean(env.KUBERNETES_SERVICE_HOST && env.POD_UID) && account !== null
    const self = isInPod && installations.length === 0 ? selfIn(env, namespace, account) : null
    const agents = self === null ? installations : [self]
    const leaseNames = new Set(agents.flatMap(({ agent }) => agent?.options?.leaseName ?? []))
    const leases = new Map<string, boolean>()
    for (const name of leaseNames) {
      const exists = await this.#exists(name)
      if (exists !== null) leases.set(name, exists)
    }
    const [lease = leaseName ?? AGENT_SETTINGS.leaseName.fallback] = leaseNames
    const latency = await this.#latency(lease)
    const grants = await this.#grants(agents, account)
    const none = `no LangFlow in namespace ${namespace} competes for the Lease ${leaseName}: look at --lease-name`
    const unfound = facts.unfound ?? (installations.length === 0 ? none : null)
    const cluster = { version, hidden: this.#hidden, leases, latency, grants }
    return { ...facts, installations, self, unfound, cluster }
  }

  /** Major and minor version of the API server, such as `1.37`; `null`: unknown. */
  async #version(): Promise<string | null> {
    const about = { kind: 'version', resource: 'version', name: null }
    const { body } = await this.#requests.send({ verb: 'get', about, path: '/version' }, DEADLINE_MS)
    // Providers write minor versions such as `28+`.
    const [, major] = /"major":\s*"(\d+)/.exec(body) ?? []
    const [, minor] = /"minor":\s*"(\d+)/.exec(body) ?? []
    return major === undefined || minor === undefined ? null : `${major}.${minor}`
  }

  /** Empty if the caller may not list them, which is remembered. */
  async #list(kind: string, plural: string, apiVersion: string): Promise<Manifest[]> {
    const of = kindOf(kind, plural, apiVersion)
    const items = await this.#seen(kind, () => this.#objects.list(of, DEADLINE_MS))
    return (items ?? []).map((item) => manifestOf({ ...item, apiVersion, kind }))
  }

  /** The objects that the variables of LangFlow and agent come from, as far as rules judge them. */
  async #named(installations: readonly Installation[]): Promise<Manifest[]> {
    const wanted = installations.flatMap(({ langflow, agent }) => [
      ...objectsNamedBy(langflow, READ_SECRETS),
      ...(agent === null ? [] : objectsNamedBy(agent.container, /^LEADER_/)),
    ])
    const unique = new Map(wanted.map((one) => [`${one.kind}/${one.name}`, one]))
    const found = await Promise.all(
      [...unique].map(async ([title, { kind, name }]) => {
        const of = kindOf(kind, `${kind.toLowerCase()}s`, 'v1')
        const value = await this.#seen(title, () => this.#objects.get(of, name, DEADLINE_MS))
        if (value === undefined) this.#absent.add(title)
        return value ? [manifestOf({ ...value, kind })] : []
      }),
    )
    return found.flat()
  }

  /** Whether the Lease exists; `null`: the caller may not read it. */
  async #exists(leaseName: string): Promise<boolean | null> {
    const lease = await this.#seen('Lease', () => this.#objects.get(LEASE, leaseName, DEADLINE_MS))
    return lease === null ? null : lease !== undefined
  }

  /** Any answer counts: a refusal has made the same way. */
  async #latency(leaseName: string): Promise<Latency> {
    const { clock } = this.#question
    const took: number[] = []
    for (let i = 0; i < LATENCY_REQUESTS; i++) {
      const from = clock.mono()
      await this.#exists(leaseName)
      took.push(clock.mono() - from)
    }
    took.sort((a, b) => a - b)
    const at = (index: number) => Math.round(took[index] ?? 0)
    return { requests: took.length, medianMs: at(took.length >> 1), slowestMs: at(took.length - 1) }
  }

  /** The caller's ServiceAccount in this namespace; `null`: it is none, or the API server does not say. */
  async #account(): Promise<string | null> {
    const value = await this.#review('authentication.k8s.io', 'SelfSubjectReview', {})
    const name = asText(dig(value, 'status', 'userInfo', 'username'))
    const [, namespace, account = null] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name) ?? []
    return namespace === this.#question.namespace ? account : null
  }

  /** What the agents' accounts may do. `caller`: the caller's own account. */
  async #grants(agents: readonly Installation[], caller: string | null): Promise<Map<string, boolean>> {
    const grants = new Map<string, boolean>()
    for (const one of agents) {
      const options = one.agent?.options
      if (options == null) continue
      const account = accountOf(one)
      for (const need of AGENT_NEEDS) {
        const right = rightOf(need, options.leaseName)
        const allowed = await this.#may(account === caller ? null : account, right)
        if (allowed !== null) grants.set(grantOf(account, right), allowed)
      }
    }
    return grants
  }

  /** `account`: `null` is the caller's. Returns `null` if the API server does not say. */
  async #may(account: string | null, { name, ...right }: Right): Promise<boolean | null> {
    const { namespace } = this.#question
    const resourceAttributes = { ...right, namespace, ...(name === null ? {} : { name }) }
    const group = 'authorization.k8s.io'
    const user = `system:serviceaccount:${namespace}:${account}`
    const groups = ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated']
    const value =
      account === null
        ? await this.#review(group, 'SelfSubjectAccessReview', { resourceAttributes })
        : await this.#review(group, 'LocalSubjectAccessReview', { user, groups, resourceAttributes })
    return value === null ? null : dig(value, 'status', 'allowed') === true
  }

  /** `null`: the API server does not answer that. */
  async #review(group: string, kind: string, spec: object): Promise<unknown> {
    const { namespace } = this.#question
    const plural = `${kind.toLowerCase()}s`
    const isLocal = kind.startsWith('Local')
    const scope = isLocal ? `/namespaces/${encodeURIComponent(namespace)}` : ''
    const metadata = isLocal ? { namespace } : {}
    try {
      const { body } = await this.#requests.send(
        {
          verb: 'create',
          about: { kind, resource: `${plural}.${group}`, name: null },
          path: `/apis/${group}/v1${scope}/${plural}`,
          body: JSON.stringify({ apiVersion: `${group}/v1`, kind, metadata, spec }),
        },
        DEADLINE_MS,
      )
      return JSON.parse(body)
    } catch (error) {
      if (error instanceof ApiError || error instanceof SyntaxError) return null
      throw error
    }
  }

  /** `undefined`: it does not exist. `null`: the caller may not read it, which is remembered under `what`. */
  async #seen<T>(what: string, read: () => Promise<T>): Promise<T | null | undefined> {
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      if (error.status === 404) return undefined
      this.#hidden.set(what, error.message)
      return null
    }
  }
}

function kindOf(kind: string, plural: string, apiVersion: string): Kind {
  const [group] = apiVersion.split('/')
  return apiVersion === group
    ? { kind, resource: plural, base: `/api/${apiVersion}` }
    : { kind, resource: `${plural}.${group}`, base: `/apis/${apiVersion}` }
}

/** The agent of this very pod, by its own environment. */
function selfIn(env: NodeJS.ProcessEnv, namespace: string, account: string): Installation {
  const own = Object.entries(env).filter(([name]) => /^(LEADER_|POD_|CONTROLLER_REVISION_HASH$)/.test(name))
  const manifest = manifestOf({
    kind: 'Pod',
    metadata: { name: env.POD_NAME ?? 'this', namespace },
    spec: { template: { spec: { serviceAccountName: account } } },
  })
  const { options, fault } = readOptions('agent', agentOptions, [], Object.fromEntries(own))
  const one = read(readWorkload({ manifest, container: '' }), [])
  return {
    ...one,
    agent: { container: {}, env: environmentOf({}, [], new Set()), place: 'sidecar', options, fault },
  }
}
