import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { DrillSettings } from '../../agent/cli/drill/drill-command.ts'
import { VERSION } from '../../agent/version.ts'
import { parseDrill } from '../cli/drill/drill-arguments.ts'
import { LEAST } from '../deploy/chart-cases.ts'
import { type PodTemplate, plainEnv } from '../deploy/consistency.ts'
import { rendered } from '../deploy/helm.ts'
import { named, only } from '../deploy/manifests.ts'

const { manifests } = await rendered({ ...LEAST, drill: { enabled: true } })
const { schedule, timeZone, suspend, concurrencyPolicy, jobTemplate } = only(manifests, 'CronJob').spec
const NAME = 'langflow-leader-drill'
const job = jobTemplate.spec
const template = job.template as PodTemplate
const container = named(template.spec.containers, 'drill')

/** The settings of the drill, with the values of an optional Secret. */
function settingsWith(secret: NodeJS.ProcessEnv = {}): Promise<DrillSettings> {
  const [name, ...words] = container.args!
  assert.equal(name, 'drill')
  return parseDrill(words, { ...plainEnv(container), ...secret })
}

describe('the drill of the chart', () => {
  test('has the image of this version', () => {
    assert.equal(container.image, `langflow-leader:${VERSION}`)
  })

  test('runs a switchover through the Service of LangFlow without a confirmation', async () => {
    const { scenario, service, yes, flow, apiKey } = await settingsWith()
    const { metadata, spec } = only(manifests, 'Service', 'langflow')
    assert.equal(scenario, 'switchover')
    assert.equal(service.href, `http://${metadata.name}:${spec.ports[0].port}/`)
    assert.deepEqual([yes, flow, apiKey], [true, null, null])
  })

  test('runs the flow of its Secret', async () => {
    const { flow, apiKey } = await settingsWith({ LEADER_FLOW: 'echo', LEADER_API_KEY: 'sk-1' })
    assert.deepEqual([flow, apiKey], ['echo', 'sk-1'])
    for (const [name, key] of [
      ['LEADER_FLOW', 'flow'],
      ['LEADER_API_KEY', 'api-key'],
    ] as const)
      assert.deepEqual(named(container.env!, name).valueFrom?.secretKeyRef, {
        name: 'langflow-leader-drill',
        key,
        optional: true,
      })
  })

  test('has only the rights that a switchover of its Lease needs', async () => {
    const { leaseName } = await settingsWith()
    const core = { apiGroups: [''] }
    assert.deepEqual(only(manifests, 'Role', NAME).rules, [
      {
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
        resourceNames: [leaseName],
        verbs: ['get', 'patch'],
      },
      { ...core, resources: ['pods'], verbs: ['list'] },
      { ...core, resources: ['pods/proxy'], verbs: ['get'] },
    ])
    const account = only(manifests, 'ServiceAccount', NAME)
    const { roleRef, subjects } = only(manifests, 'RoleBinding', NAME)
    assert.equal(account.automountServiceAccountToken, false)
    assert.equal(roleRef.name, only(manifests, 'Role', NAME).metadata.name)
    assert.deepEqual(subjects, [{ kind: 'ServiceAccount', name: account.metadata.name }])
    assert.equal(template.spec.serviceAccountName, account.metadata.name)
  })

  test('is admitted to LangFlow by the NetworkPolicy, and not selected as LangFlow', () => {
    const { ingress, podSelector } = only(manifests, 'NetworkPolicy').spec
    const labels = template.metadata.labels!
    assert.deepEqual({ ...labels, ...ingress[0].from[0].podSelector.matchLabels }, labels)
    assert.notDeepEqual({ ...labels, ...podSelector.matchLabels }, labels)
  })

  test('runs once a month without retries or overlap, and with enough time to end by itself', async () => {
    const { timeoutMs } = await settingsWith()
    assert.deepEqual([schedule, timeZone], ['0 9 1 * *', 'Etc/UTC'])
    assert.deepEqual([suspend, concurrencyPolicy], [undefined, 'Forbid'])
    assert.deepEqual([job.backoffLimit, job.template.spec.restartPolicy], [0, 'Never'])
    assert.ok(job.activeDeadlineSeconds * 1_000 > timeoutMs + 5 * 60_000)
  })
})
