import type { KubeObject } from '../../kube/objects.ts'
import { epochOf, holderOf } from '../../lease/lease.ts'
import { ANYBODY, describeTarget, switchoverOf } from '../../lease/operation.ts'
import { holderRow } from '../cluster.ts'
import { mayHaveHappened, OperationError } from '../exit-codes.ts'
import { requestSwitchover } from '../switchover.ts'
import { agentVictim, kill, rehearse, workerVictim } from './crash.ts'
import type { ScenarioName } from './settings.ts'
import type { Fit, Sight, Stage } from './sight.ts'

export interface Scenario {
  /** What a good result says, as the end of "It proves that …". */
  readonly proves: string
  /** Whether the leader hands over in order, so that with fronts no request may fail. */
  readonly isPlanned: boolean
  /** Whether the leader's pod has to be looked at. */
  readonly needsPod: boolean
  /** Whether it has to be looked at again and again. */
  readonly watchesPod: boolean
  /** Throws an `OperationError` where it could not be played; changes nothing. */
  rehearse(stage: Stage, before: Fit): Promise<void>
  /** Resolves to what was done, or may have been, in one sentence. Rejects with an `OperationError` where nothing was done. */
  play(stage: Stage, before: Fit): Promise<string>
  /** Whether it has taken effect. Throws an `OperationError` once it never will. */
  happened(before: Fit, now: Sight): boolean
}

const isNewTerm = ({ plan }: Fit, { lease }: Sight) => epochOf(lease) > plan.epoch && holderOf(lease) !== ''

export const SCENARIO: Readonly<Record<ScenarioName, Scenario>> = {
  switchover: {
    proves: 'another replica takes over when an operator asks for it',
    isPlanned: true,
    needsPod: false,
    watchesPod: false,
    async rehearse() {},
    async play({ cluster, clock }, { plan }) {
      let unsure = false
      const noting = {
        lease: () => cluster.lease(),
        replicas: () => cluster.replicas(),
        annotate: (...write: Parameters<typeof cluster.annotate>) =>
          cluster.annotate(...write).catch((error) => {
            unsure ||= mayHaveHappened(error)
            throw error
          }),
      }
      const asked = `asked ${plan.from} to hand over to ${describeTarget(ANYBODY)}`
      return await requestSwitchover(noting, clock, ANYBODY, plan).then(
        () => asked,
        (error: Error) => {
          if (unsure) return `${asked}; whether it was told is not known: ${error.message}`
          throw error
        },
      )
    },
    happened(before, now) {
      const status = holderRow(now.lease, now.rows)?.status
      const refused = status?.switchover?.state === 'refused' && switchoverOf(now.lease) === null
      if (refused && epochOf(now.lease) === before.plan.epoch)
        throw new OperationError(
          'refused',
          `${before.plan.from} refused to hand over: ${status.switchover?.reason ?? 'it does not say why'}`,
        )
      return isNewTerm(before, now) && holderOf(now.lease) !== before.plan.holder
    },
  },
  'crash-langflow': {
    proves: 'a LangFlow that is killed, as for want of memory, is followed by another',
    isPlanned: false,
    needsPod: true,
    watchesPod: false,
    rehearse: ({ hands }, before) => rehearse(hands, podOf(before), workerVictim(podOf(before))),
    async play({ hands }, before) {
      const how = await kill(hands, podOf(before), workerVictim(podOf(before)))
      return `killed LangFlow's worker in ${before.plan.from} (${how})`
    },
    happened(before, now) {
      if (isNewTerm(before, now)) return true
      // Restarted in place, where no other replica was ready at that moment.
      const orderedAt = ({ lease, rows }: Sight) => holderRow(lease, rows)?.status?.workload.orderedAt ?? null
      return orderedAt(now) !== null && orderedAt(now) !== orderedAt(before)
    },
  },
  'crash-agent': {
    proves: 'LangFlow outlives an agent that is killed, and goes on in the same term',
    isPlanned: false,
    needsPod: true,
    watchesPod: true,
    rehearse: ({ hands }, before) => rehearse(hands, podOf(before), agentVictim(podOf(before))),
    async play({ hands }, before) {
      const how = await kill(hands, podOf(before), agentVictim(podOf(before)))
      return `killed the agent of ${before.plan.from} (${how})`
    },
    happened(before, now) {
      const { container } = agentVictim(podOf(before))
      return isNewTerm(before, now) || restartsOf(now.pod, container) > restartsOf(before.pod, container)
    },
  },
  'delete-pod': {
    proves: 'a pod that is deleted, as by a drain of its node, hands over before it ends, and is replaced',
    isPlanned: true,
    needsPod: true,
    watchesPod: false,
    rehearse: ({ hands }, before) => hands.remove(podOf(before), true),
    async play({ hands }, before) {
      const did = `deleted the pod ${before.plan.from}, as kubectl delete pod does`
      return await hands.remove(podOf(before), false).then(
        () => did,
        (error: Error) => {
          if (mayHaveHappened(error)) return `${did}; whether it was done is not known: ${error.message}`
          throw error
        },
      )
    },
    happened: isNewTerm,
  },
}

function podOf({ pod, plan }: Fit): KubeObject {
  if (pod === null) throw new OperationError('unknown_pod', `there is no pod ${plan.from}, which leads`)
  return pod
}

function restartsOf(pod: KubeObject | null, container: string): number {
  type Statuses = { name: string; restartCount: number }[] | undefined
  const { initContainerStatuses, containerStatuses } = (pod?.status ?? {}) as Record<string, Statuses>
  const statuses = [...(initContainerStatuses ?? []), ...(containerStatuses ?? [])]
  return statuses.find(({ name }) => name === container)?.restartCount ?? 0
}
