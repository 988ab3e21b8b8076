import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import {
  givenEnvironment,
  isUsableKey,
  workloadEnvironment,
} from '../../agent/launcher/workload-environment.ts'
import { setAside } from '../../agent/reexec.ts'

test('the workload’s environment names its epoch and identity, but not the cluster or the launcher’s settings', () => {
  const env = {
    PATH: '/bin',
    KUBERNETES_SERVICE_HOST: '10.0.0.1',
    KUBERNETES_PORT_443_TCP: 'tcp://10.0.0.1:443',
    LEADER_SOCKET: '/run/socket',
    LEADER_EPOCH: '6',
    POSTGRES_SERVICE_HOST: '10.0.0.2',
    LANGFLOW_LEADER_NOTE: 'stays',
    MY_KUBERNETES_NOTE: 'stays',
  }
  const before = { ...env }
  assert.deepEqual(workloadEnvironment(env, { epoch: 7, identity: 'pod-0_uid' }), {
    PATH: '/bin',
    POSTGRES_SERVICE_HOST: '10.0.0.2',
    LANGFLOW_LEADER_NOTE: 'stays',
    MY_KUBERNETES_NOTE: 'stays',
    LEADER_EPOCH: '7',
    LEADER_IDENTITY: 'pod-0_uid',
  })
  assert.deepEqual(env, before)
})

test('a launcher keeps only its own variables, an agent those that do not change Node; LangFlow gets all', () => {
  const env = {
    PATH: '/bin',
    NODE_OPTIONS: '--inspect',
    NODE_EXTRA_CA_CERTS: '/ca.pem',
    LD_PRELOAD: '/jemalloc.so',
    HTTPS_PROXY: 'http://proxy',
    LEADER_SOCKET: '/socket',
  }
  const agent = setAside(env, 'agent')
  for (const name of ['PATH', 'NODE_EXTRA_CA_CERTS', 'HTTPS_PROXY', 'LEADER_SOCKET']) assert.ok(name in agent)
  for (const name of ['NODE_OPTIONS', 'LD_PRELOAD']) assert.ok(!(name in agent))
  const launcher = setAside(agent, 'launch')
  assert.deepEqual(
    Object.keys(launcher).filter((name) => !name.startsWith('LANGFLOW_LEADER_')),
    ['LEADER_SOCKET'],
  )
  assert.deepEqual(setAside(launcher, 'launch'), launcher)
  assert.deepEqual(givenEnvironment(launcher), env)
})

/** 43 characters are 258 bits: 32 bytes, and two unused bits. */
const DATA = 'abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG'

describe('LangFlow’s secret key', () => {
  test('is accepted in each form with which LangFlow can encrypt', () => {
    for (const key of [
      randomBytes(32).toString('base64url').padEnd(44, '='), // as openssl and tr print it
      `+/${DATA.slice(2)}=`, // the alphabet of plain base64
      DATA, // LangFlow adds the padding
      `${DATA}=\n`,
      'a'.repeat(31), // LangFlow takes the SHA-256
    ])
      assert.equal(isUsableKey(key), true, key)
  })

  test('is refused if LangFlow cannot encrypt with it', () => {
    const hex = randomBytes(32).toString('hex')
    for (const key of [
      '',
      hex,
      'a passphrase of more than 32 characters',
      `${DATA}H`,
      `${DATA.slice(1)}==`,
      `${DATA}\n`,
    ])
      assert.equal(isUsableKey(key), false, key)
  })
})
