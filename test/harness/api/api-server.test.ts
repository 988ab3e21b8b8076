import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock } from '../../../agent/clock.ts'
import { connectLeaseApi } from '../../../agent/lease/lease-api.ts'
import { connectEvents } from '../../../agent/replica/kube-events.ts'
import { Series } from '../wait.ts'
import { kubeconfigFor, LeaseServer } from './api-server.ts'

test('the demo hears of what happens to its replicas', async () => {
  const api = new LeaseServer(systemClock)
  await api.listen()
  await using dir = await mkdtempDisposable(join(tmpdir(), 'api-server-'))
  const kubeconfig = join(dir.path, 'kubeconfig')
  writeFileSync(kubeconfig, kubeconfigFor(api.url))
  const said: string[] = []
  const answers = new Series<string>()
  const connection = await connectLeaseApi({
    name: 'lock',
    kubeconfig,
    clock: systemClock,
    userAgent: 'test',
    onRequest: (verb, code) => answers.add(`${verb} ${code}`),
  })
  const connect = await connectEvents({
    options: { identity: 'a_1', leaseName: 'lock', pod: { name: 'a', uid: '1' } },
    objects: connection.objects,
    clock: systemClock,
    log: { info: (line) => said.push(line), warn: (line) => said.push(line) },
  })
  const events = connect({ leaseUid: () => undefined })
  events.record({ reason: 'Serving', epoch: 1 })
  await answers.next('both Events', () => answers.list.length === 2)
  events.record({ reason: 'Serving', epoch: 1 })
  await events.end()
  await api.close()
  assert.deepEqual(said, [])
  assert.deepEqual(answers.list, ['create 201', 'create 201', 'patch 200', 'patch 200'])
})
