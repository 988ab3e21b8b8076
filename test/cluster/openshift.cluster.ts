import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { deletedLeaderHandsOver, onlyLeaderAnswers } from './leadership.ts'
import { processesOf } from './processes.ts'
import { scenariosOn } from './scenario.ts'
import { STAND_IN, type Workload } from './workload.ts'

/** The effective user and group of a process. */
function idsOf(pid: number): number[] {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return ['Uid', 'Gid'].map((name) =>
    Number(new RegExp(`^${name}:\\s+\\d+\\s+(\\d+)`, 'm').exec(status)?.[1]),
  )
}

/** A user of a namespace's range, as OpenShift's restricted-v2 chooses it. It is in no image, so its group is root's. */
const UID = 1_000_660_000

const AS_ON_OPENSHIFT: Workload = {
  ...STAND_IN,
  prepare(deployment, collector) {
    const { securityContext } = deployment.spec.template.spec
    assert.deepEqual([securityContext.runAsUser, securityContext.fsGroup], [undefined, undefined])
    Object.assign(securityContext, { runAsUser: UID, fsGroup: UID, seLinuxOptions: { level: 's0:c26,c0' } })
    return STAND_IN.prepare(deployment, collector)
  },
}

const scenario = scenariosOn({
  file: 'langflow-production.yaml',
  values: { openshift: true },
  workload: AS_ON_OPENSHIFT,
})

scenario('agent and launcher work as a user that is in no image, in the group of root', async (one) => {
  await onlyLeaderAnswers(one)
  const { pid } = processesOf(await one.leader(), 'agent')[0] ?? assert.fail('the agent has no process')
  assert.deepEqual(idsOf(pid), [UID, 0])
})

scenario('a leader whose pod is deleted hands over without a failed request', deletedLeaderHandsOver)
