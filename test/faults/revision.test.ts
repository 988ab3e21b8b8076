import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { freePort } from '../harness/free-port.ts'
import { ask, askStatus, FAST } from '../harness/replica.ts'
import { EmbeddedScene } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'

const revision = (hash: string) => ({ POD_TEMPLATE_HASH: hash })

describe('a rollout', { concurrency: 2 }, () => {
  test('the leader of the old revision hands over once to a prepared replica of the new one', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const port = await freePort()
    const a = await scene.replica('a', {
      flags: [...FAST, `--peers=localhost:${port}`],
      env: revision('old'),
    })
    const { epoch } = await a.event('serving')
    const b = await scene.replica('b', {
      flags: [...FAST, `--listen=127.0.0.1:${port}`, `--peers=localhost:${a.httpPort}`],
      env: revision('new'),
    })
    const served = await b.event('serving')
    assert.equal(served.epoch, (epoch as number) + 1)
    assert.equal((await a.event('stepped_down')).reason, 'a replica of a newer revision is ready')
    await a.event('standby_ready', a.lines.indexOf(await a.event('stepped_down')))
    const status = async () => await askStatus(port)
    await until('b knows that a is ready', async () => (await status()).peers?.ready === 1)
    assert.equal((await status()).revision, 'new')
    assert.ok(!b.events().includes('draining'))
  })

  test('one that gave the Lease back is not made way for again', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const port = await freePort()
    const a = await scene.replica('a', {
      flags: [...FAST, `--peers=localhost:${port}`],
      env: revision('old'),
    })
    await a.event('serving')
    const b = await scene.replica('b', {
      flags: [...FAST, `--listen=127.0.0.1:${port}`],
      env: revision('new'),
      workload: ['exit=1'],
    })
    await b.event('stepped_down')
    const again = await a.event('serving', a.lines.indexOf(await a.event('stepped_down')))
    await until('a knows that b is ready', async () => (await a.status()).peers?.ready === 1)
    assert.equal((await a.status()).lease.epoch, again.epoch)
    assert.equal(a.events().filter((event) => event === 'stepped_down').length, 1)
  })

  test('that changes the name of the Lease starts no second election beside the first', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const port = await freePort()
    const a = await scene.replica('a', { flags: [...FAST, `--peers=localhost:${port}`] })
    await a.event('serving')
    const b = await scene.replica('b', {
      flags: [
        ...FAST,
        `--listen=127.0.0.1:${port}`,
        `--peers=localhost:${a.httpPort}`,
        '--lease-name=renamed',
      ],
    })
    const refusal = await b.find(
      'the refusal',
      ({ level, msg }) => level === 'warn' && /two leaders/.test(msg),
    )
    assert.match(
      refusal.msg,
      /^a leads by the Lease "default\/langflow-leader-lock", .* for "default\/renamed", .* set --lease-name/,
    )
    assert.equal((await ask(port, '/readyz?exclude=leadership')).status, 503)
    const { problem, couldTakeOver } = await askStatus(port)
    assert.deepEqual([problem, couldTakeOver], [refusal.msg, false])
    assert.equal((await a.get('/readyz')).status, 200)
    assert.ok(!b.events().includes('acquired'))
  })
})
