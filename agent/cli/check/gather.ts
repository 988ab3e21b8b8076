import { type Clock, systemClock } from '../../clock.ts'
import { AGENT_SETTINGS } from '../../config/agent-settings.ts'
import { agentOptions } from '../../config/options.ts'
import { findAccess } from '../../kube/kube-access.ts'
import { ApiError, type Subject } from '../../kube/kube-errors.ts'
import { KubeObjects } from '../../kube/kube-objects.ts'
import { askVersion, type Call, KubeRequests, type Reply } from '../../kube/kube-requests.ts'
import { VERSION } from '../../version.ts'
import { Cluster, type ClusterOptions } from '../cluster.ts'
import { asOperationError, OperationError } from '../exit-codes.ts'
import {
  asFields,
  asList,
  asText,
  dig,
  type Fields,
  type Manifest,
  manifestOf,
} from '../manifests/manifest.ts'
import { readWorkload } from '../manifests/workload.ts'
import {
  type Clock as ClockFacts,
  type ClusterFacts,
  type Latency,
  PROXY,
  type Replicas,
  type Verdict,
} from './cluster-facts.ts'
import { environmentOf, objectsNamedBy, secretsMounted } from './container-environment.ts'
import { accountOf, factsOf, type Installation, read, readOptions } from './installation.ts'
import { AGENT_NEEDS, OPERATOR_NEEDS, type Right, rightOf, sameRight } from './rights.ts'
import type { Facts } from './rule.ts'

/** How long one request may take, in milliseconds. */
const DEADLINE_MS = 5_000
/** Enough for a median, and half a second on a usual connection. */
const LATENCY_REQUESTS = 20
/** Of LangFlow's, those whose Secret is read, if this user may: they are looked at, and never shown. */
const READ_SECRETS = /^LANGFLOW_(SECRET_KEY|DATABASE_URL|AUTO_LOGIN)$/

export interface Wanted extends Omit<ClusterOptions, 'leaseName'> {
  /** Of which Lease the LangFlows are; `null`: any. */
  readonly leaseName: string | null
  /** LangFlow's container; `null`: the one that looks like it. */
  readonly container: string | null
}

/**
 * What one namespace has, and how its API server answers, by the rights of whoever asks. `env`: of this process; where it
 * runs in the agent's pod, it says what that agent is told. Rejects with `OperationError`.
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
    using requests = closing(new KubeRequests(options))
    using objects = closing(new KubeObjects(options))
    const version = await askVersion(options)
    const question = { ...wanted, namespace, clock, env }
    return await new Inquiry(question, requests.value, objects.value).facts(version)
  } catch (error) {
    throw asOperationError(error)
  }
}

function closing<T extends { close(): void }>(value: T): { value: T } & Disposable {
  return { value, [Symbol.dispose]: () => value.close() }
}

interface Question extends Pick<Wanted, 'leaseName' | 'container'> {
  readonly namespace: string
  readonly clock: Clock
  readonly env: NodeJS.ProcessEnv
}

/** `apiVersion` and plural of the kinds that rules look at. */
const KINDS = {
  Deployment: ['apps/v1', 'deployments'],
  StatefulSet: ['apps/v1', 'statefulsets'],
  Rollout: ['argoproj.io/v1alpha1', 'rollouts'],
  Service: ['v1', 'services'],
  ServiceAccount: ['v1', 'serviceaccounts'],
  PersistentVolumeClaim: ['v1', 'persistentvolumeclaims'],
  NetworkPolicy: ['networking.k8s.io/v1', 'networkpolicies'],
  Ingress: ['networking.k8s.io/v1', 'ingresses'],
  HTTPRoute: ['gateway.networking.k8s.io/v1', 'httproutes'],
  PodDisruptionBudget: ['policy/v1', 'poddisruptionbudgets'],
  HorizontalPodAutoscaler: ['autoscaling/v2', 'horizontalpodautoscalers'],
  Role: ['rbac.authorization.k8s.io/v1', 'roles'],
  RoleBinding: ['rbac.authorization.k8s.io/v1', 'rolebindings'],
} as const satisfies Record<string, readonly [apiVersion: string, plural: string]>

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

  async facts(version: string | null): Promise<Facts> {
    const { container, leaseName, namespace, env } = this.#question
    const found = await Promise.all([
      ...Object.entries(KINDS).map(([kind, [apiVersion, plural]]) => this.#list(kind, apiVersion, plural)),
      this.#namespace(),
    ])
    const pods = await this.#pods()
    const manifests = found.flat()
    const first = factsOf(manifests, container)
    const named = await this.#named(first.installations)
    const facts = factsOf([...manifests, ...named], container, this.#absent)
    const installations = facts.installations.filter(
      ({ agent }) => leaseName === null || (agent?.options?.leaseName ?? leaseName) === leaseName,
    )
    const account = await this.#account()
    const isInPod = Boolean(env.KUBERNETES_SERVICE_HOST) && account !== null
    const inPods = installations.length === 0 ? agentsIn(pods ?? [], leaseName) : []
    // In a pod of theirs it looks at itself, not at the others.
    const isSelf =
      isInPod &&
      installations.length === 0 &&
      (inPods.length === 0 || inPods.some((one) => accountOf(one) === account))
    const bare = isSelf ? [selfIn(env, namespace, account)] : inPods
    const all = [...installations, ...bare]
    const leaseNames = [...new Set(all.flatMap(({ agent }) => agent?.options?.leaseName ?? []))]
    if (leaseNames.length === 0) leaseNames.push(leaseName ?? AGENT_SETTINGS.leaseName.fallback)

    const isAgent = isSelf || all.some((one) => accountOf(one) === account)
    const leases = new Map<string, boolean>()
    const replicas = new Map<string, Replicas>()
    for (const name of leaseNames) {
      const exists = await this.#exists(name)
      if (exists !== null) leases.set(name, exists)
      // An agent asks the others itself, and may not by way of the API server.
      const told = pods === null || isAgent ? null : await this.#replicas(name)
      if (told !== null) replicas.set(name, told)
    }
    const measured = await this.#measure(leaseNames[0]!)
    const agentRights = await this.#agentRights(all, isAgent)
    const cluster: ClusterFacts = {
      namespace,
      version,
      isAgent,
      leaseNames,
      ...measured,
      nodes: await this.#count('/api/v1/nodes?limit=2', 'nodes'),
      apiAddress: await this.#apiAddress(),
      clientNamespaces: await this.#clientNamespaces(),
      pods,
      hidden: this.#hidden,
      ownRights: isAgent ? [] : ((await this.#quietly(() => this.#ownRights(leaseNames))) ?? []),
      agentRights: (name) => agentRights.get(name) ?? null,
      leases,
      replicas: (name) => replicas.get(name) ?? null,
    }
    const unfound =
      bare.length > 0 && !isSelf
        ? null
        : (facts.unfound ??
          (installations.length === 0
            ? `no LangFlow in namespace ${namespace} competes for the Lease ${leaseName}: look at --lease-name`
            : null))
    return { ...facts, installations, unfound, bare, cluster }
  }

  async #list(kind: string, apiVersion: string, plural: string): Promise<Manifest[]> {
    const base = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`
    const path = `${base}/namespaces/${encodeURIComponent(this.#question.namespace)}/${plural}`
    const group = apiVersion.includes('/') ? `.${apiVersion.split('/')[0]}` : ''
    const value = await this.#seen(kind, path, plural + group)
    return asList(value?.items).map((item) => manifestOf({ apiVersion, kind, ...asFields(item) }))
  }

  async #pods(): Promise<readonly Fields[] | null> {
    const path = `/api/v1/namespaces/${encodeURIComponent(this.#question.namespace)}/pods`
    const value = await this.#seen('Pod', path, 'pods')
    return value === null ? null : asList(value.items).map((item) => ({ ...asFields(item) }))
  }

  async #namespace(): Promise<Manifest[]> {
    const { namespace } = this.#question
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}`
    const value = await this.#seen('Namespace', path, 'namespaces', namespace)
    return value === null ? [] : [manifestOf({ ...value, kind: 'Namespace' })]
  }

  /** What LangFlow's and the agent's variables come from, as far as it matters. */
  async #named(installations: readonly Installation[]): Promise<Manifest[]> {
    const wanted = installations.flatMap(({ langflow, pod, agent }) => [
      ...objectsNamedBy(langflow, READ_SECRETS),
      ...[langflow, ...(agent === null ? [] : [agent.container])].flatMap((container) =>
        [...secretsMounted(container, pod)].map((name) => ({ kind: 'Secret', name })),
      ),
      ...(agent === null ? [] : objectsNamedBy(agent.container, /^LEADER_/)),
    ])
    const unique = new Map(wanted.map((one) => [`${one.kind}/${one.name}`, one]))
    const found = await Promise.all(
      [...unique.values()].map(async ({ kind, name }) => {
        const plural = kind === 'Secret' ? 'secrets' : 'configmaps'
        const path = `/api/v1/namespaces/${encodeURIComponent(this.#question.namespace)}/${plural}/${encodeURIComponent(name)}`
        const value = await this.#seen(`${kind}/${name}`, path, plural, name)
        if (value === null) return []
        if (value.metadata !== undefined) return [manifestOf({ ...value, kind })]
        this.#absent.add(`${kind}/${name}`)
        return []
      }),
    )
    return found.flat()
  }

  async #apiAddress(): Promise<string | null> {
    const path = '/api/v1/namespaces/default/services/kubernetes'
    const value = await this.#quietly(() => this.#get(path, 'services', 'kubernetes'))
    return asText(dig(value, 'spec', 'clusterIP')) || null
  }

  async #clientNamespaces(): Promise<string[] | null> {
    const path = '/api/v1/namespaces?labelSelector=langflow-leader%2Fclient%3Dtrue'
    const value = await this.#quietly(() => this.#get(path, 'namespaces'))
    return value === null ? null : asList(value.items).map((one) => asText(dig(one, 'metadata', 'name')))
  }

  async #count(path: string, resource: string): Promise<number | null> {
    const value = await this.#quietly(() => this.#get(path, resource))
    return value === null ? null : asList(value.items).length
  }

  /** `null`: this user may not ask them. */
  async #replicas(leaseName: string): Promise<Replicas | null> {
    const { clock } = this.#question
    const from = clock.mono()
    try {
      const rows = await new Cluster(this.#objects, leaseName).replicas()
      return { rows, tookMs: clock.mono() - from }
    } catch (error) {
      if (!(error instanceof OperationError) || error.code !== 'no_rights') throw error
      this.#hide(PROXY, error.cause)
      return null
    }
  }

  /** Whether the Lease is there; `null`: this user may not see it. */
  async #exists(leaseName: string): Promise<boolean | null> {
    try {
      await this.#get(this.#leasePath(leaseName), 'leases.coordination.k8s.io', leaseName)
      return true
    } catch (error) {
      if (error instanceof ApiError && error.code === 'not_found') return false
      this.#hide('Lease', error)
      return null
    }
  }

  /** Answers of any kind count: also one that refuses has gone to the API server and back. */
  async #measure(leaseName: string): Promise<{ latency: Latency; clock: ClockFacts }> {
    const { clock } = this.#question
    const took: number[] = []
    let sent: ClockFacts = { aheadMs: null, why: 'the API server sends no date' }
    for (let i = 0; i < LATENCY_REQUESTS; i++) {
      const from = clock.now()
      const reply = await this.#replyOf(leaseName)
      const ms = clock.mono() - from.mono
      took.push(ms)
      if (reply instanceof ApiError) sent = { aheadMs: null, why: reply.message }
      const date = reply instanceof ApiError ? Number.NaN : Date.parse(String(reply.date ?? ''))
      // A date is cut to whole seconds, and was written somewhere between.
      if (!Number.isNaN(date))
        sent = { aheadMs: Math.round(from.wall + ms / 2 - date - 500), withinMs: 500 + ms / 2 }
    }
    took.sort((a, b) => a - b)
    const at = (index: number) => Math.round(took[index] ?? 0)
    return {
      latency: { requests: took.length, medianMs: at(took.length >> 1), slowestMs: at(took.length - 1) },
      clock: sent,
    }
  }

  async #replyOf(leaseName: string): Promise<Reply | ApiError> {
    const about = { kind: 'Lease', resource: 'leases.coordination.k8s.io', name: leaseName }
    try {
      return await this.#requests.send({ verb: 'get', about, path: this.#leasePath(leaseName) }, DEADLINE_MS)
    } catch (error) {
      if (error instanceof ApiError && (error.code === 'forbidden' || error.code === 'not_found'))
        return error
      throw error
    }
  }

  /** Who asks, as `namespace/name`; `null`: no ServiceAccount, or the API server does not say. */
  async #account(): Promise<string | null> {
    const value = await this.#quietly(() =>
      this.#post(
        '/apis/authentication.k8s.io/v1/selfsubjectreviews',
        'selfsubjectreviews.authentication.k8s.io',
        {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'SelfSubjectReview',
        },
      ),
    )
    const name = asText(dig(value, 'status', 'userInfo', 'username'))
    const [, namespace, account] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name) ?? []
    return account !== undefined && namespace === this.#question.namespace ? account : null
  }

  async #ownRights(leaseNames: readonly string[]): Promise<Verdict[]> {
    const rights = leaseNames.flatMap((name) =>
      Object.values(OPERATOR_NEEDS).map((need) => rightOf(need, name)),
    )
    return Promise.all(distinct(rights).map(async (right) => ({ right, allowed: await this.#may(right) })))
  }

  /** By account; those that this user may not ask about are left out. */
  async #agentRights(all: readonly Installation[], isAgent: boolean): Promise<Map<string, Verdict[]>> {
    const byAccount = new Map<string, Verdict[]>()
    for (const one of all) {
      const options = one.agent?.options
      if (options == null) continue
      const account = accountOf(one)
      const rights = Object.values(AGENT_NEEDS).map((need) => rightOf(need, options.leaseName))
      const verdicts = await this.#quietly(() =>
        Promise.all(
          rights.map(async (right) => ({
            right,
            allowed: isAgent ? await this.#may(right) : await this.#accountMay(account, right),
          })),
        ),
      )
      if (verdicts !== null) byAccount.set(account, [...(byAccount.get(account) ?? []), ...verdicts])
    }
    return byAccount
  }

  #may(right: Right): Promise<boolean> {
    return this.#review(
      '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
      'SelfSubjectAccessReview',
      right,
      {},
    )
  }

  #accountMay(account: string, right: Right): Promise<boolean> {
    const { namespace } = this.#question
    const path = `/apis/authorization.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/localsubjectaccessreviews`
    const user = `system:serviceaccount:${namespace}:${account}`
    const groups = ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated']
    return this.#review(path, 'LocalSubjectAccessReview', right, { user, groups })
  }

  async #review(path: string, kind: string, right: Right, who: object): Promise<boolean> {
    const { namespace } = this.#question
    const [resource, subresource] = right.resource.split('/')
    const resourceAttributes = {
      namespace,
      verb: right.verb,
      group: right.group,
      resource,
      ...(subresource === undefined ? {} : { subresource }),
      ...(right.name === null ? {} : { name: right.name }),
    }
    const value = await this.#post(path, `${kind.toLowerCase()}s.authorization.k8s.io`, {
      apiVersion: 'authorization.k8s.io/v1',
      kind,
      metadata: { namespace: kind.startsWith('Local') ? namespace : undefined },
      spec: { ...who, resourceAttributes },
    })
    return dig(value, 'status', 'allowed') === true
  }

  #leasePath(name: string): string {
    const { namespace } = this.#question
    return `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/leases/${encodeURIComponent(name)}`
  }

  /** `null`: this user may not see it, which is remembered under `what`; what does not exist is empty. */
  async #seen(
    what: string,
    path: string,
    resource: string,
    name: string | null = null,
  ): Promise<Readonly<Fields> | null> {
    try {
      return await this.#get(path, resource, name)
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return {}
      this.#hide(what, error)
      return null
    }
  }

  #hide(what: string, error: unknown): void {
    if (!(error instanceof ApiError)) throw error
    this.#hidden.set(what, error.message)
  }

  /** `null`: it failed, and nobody needs to know why. */
  async #quietly<T>(ask: () => Promise<T>): Promise<T | null> {
    try {
      return await ask()
    } catch (error) {
      if (error instanceof ApiError) return null
      throw error
    }
  }

  async #get(path: string, resource: string, name: string | null = null): Promise<Readonly<Fields>> {
    return this.#send(callOf(name === null ? 'list' : 'get', path, resource, name))
  }

  async #post(path: string, resource: string, body: object): Promise<Readonly<Fields>> {
    return this.#send({ ...callOf('create', path, resource, null), body: JSON.stringify(body) })
  }

  async #send(call: Call): Promise<Readonly<Fields>> {
    const { body } = await this.#requests.send(call, DEADLINE_MS)
    try {
      return asFields(JSON.parse(body))
    } catch (cause) {
      throw new ApiError('network', `the API server answered ${call.path} with something that is no JSON`, {
        cause,
      })
    }
  }
}

function callOf(verb: Call['verb'], path: string, resource: string, name: string | null): Call {
  const about: Subject = { kind: resource.split('.', 1)[0]!, resource, name }
  return { verb, about, path }
}

function distinct(rights: readonly Right[]): Right[] {
  return rights.filter((right, i) => rights.findIndex((one) => sameRight(one, right)) === i)
}

/** Agents in pods that no known workload makes, one for each Lease. */
function agentsIn(pods: readonly Fields[], leaseName: string | null): Installation[] {
  const found = new Map<string, Installation>()
  for (const pod of pods) {
    const { metadata, spec } = pod
    const container = asText(dig(asList(dig(spec, 'containers'))[0], 'name'))
    const manifest = manifestOf({ kind: 'Pod', metadata, spec: { template: { metadata, spec } } })
    const one = read(readWorkload({ manifest, container }), [])
    const own = one.agent?.options?.leaseName
    if (own !== undefined && (leaseName ?? own) === own && !found.has(own)) found.set(own, one)
  }
  return [...found.values()]
}

/** The agent of this very pod, by its own environment. */
function selfIn(env: NodeJS.ProcessEnv, namespace: string, account: string): Installation {
  const told = Object.entries(env).filter(([name]) => /^(LEADER_|POD_|CONTROLLER_REVISION_HASH$)/.test(name))
  const manifest = manifestOf({
    kind: 'Pod',
    metadata: { name: env.POD_NAME ?? 'this', namespace },
    spec: { template: { spec: { serviceAccountName: account } } },
  })
  const { options, fault } = readOptions('agent', agentOptions, [], Object.fromEntries(told))
  const one = read(readWorkload({ manifest, container: '' }), [])
  return {
    ...one,
    agent: { container: {}, env: environmentOf({}, [], new Set()), place: 'sidecar', options, fault },
  }
}
