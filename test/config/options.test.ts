import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { UsageError } from '../../agent/exit.ts'
import { parse } from './commands.ts'

const POD = { POD_NAME: 'langflow-0', POD_UID: '3f1c' }

/** The contract's defaults, as texts if a flag takes a text. */
const DEFAULTS = {
  identity: 'langflow-0_3f1c',
  pod: { name: 'langflow-0', uid: '3f1c', ip: null, revision: null, owner: null },
  leaseName: 'langflow-leader-lock',
  leaseNamespace: null,
  leaseDurationMs: 15_000,
  renewDeadlineMs: 10_000,
  retryPeriodMs: 2000,
  killMarginMs: 1000,
  kubeconfig: null,
  listen: { host: null, port: 8090 },
  socket: '/run/langflow-leader/launcher.sock',
  stateDir: '/var/lib/langflow-leader',
  target: { origin: 'http://127.0.0.1:7860', port: 7860 },
  standby: 'cold',
  onDoubt: 'freeze',
  onChange: 'handover',
  healthIntervalMs: 1000,
  healthTimeoutMs: 2000,
  healthFailures: 3,
  busyTimeoutMs: 30_000,
  startTimeoutMs: 600_000,
  drainTimeoutMs: 5_000,
  stopTimeoutMs: 30_000,
  onCrash: 'handover',
  failsafe: 'none',
  failsafeMaxMs: 600_000,
  reportLostPods: false,
  peers: null,
  traffic: { mode: 'readiness' },
  holdTimeoutMs: 30_000,
  holdLimit: 1000,
  queueWaitMs: 10_000,
  streamGraceMs: 2_000,
  quietTimeoutMs: 30_000,
  logLevel: 'info',
}

/** Each flag with a value other than its default, and the option that it sets. */
const FLAGS: [flag: string, variable: string, text: string, meaning: object][] = [
  ['--lease-name', 'LEADER_LEASE_NAME', 'other', { leaseName: 'other' }],
  ['--lease-namespace', 'LEADER_LEASE_NAMESPACE', 'team', { leaseNamespace: 'team' }],
  ['--lease-duration', 'LEADER_LEASE_DURATION', '20s', { leaseDurationMs: 20_000 }],
  ['--renew-deadline', 'LEADER_RENEW_DEADLINE', '9s', { renewDeadlineMs: 9000 }],
  ['--retry-period', 'LEADER_RETRY_PERIOD', '500ms', { retryPeriodMs: 500 }],
  ['--kill-margin', 'LEADER_KILL_MARGIN', '2s', { killMarginMs: 2000 }],
  ['--identity', 'LEADER_IDENTITY', 'me', { identity: 'me' }],
  ['--kubeconfig', 'LEADER_KUBECONFIG', '/etc/k', { kubeconfig: '/etc/k' }],
  ['--listen', 'LEADER_LISTEN', '127.0.0.1:0', { listen: { host: '127.0.0.1', port: 0 } }],
  ['--socket', 'LEADER_SOCKET', '/run/s', { socket: '/run/s' }],
  ['--state-dir', 'LEADER_STATE_DIR', '/var/s', { stateDir: '/var/s' }],
  ['--target', 'LEADER_TARGET', 'http://localhost:1', { target: { origin: 'http://localhost:1', port: 1 } }],
  ['--standby', 'LEADER_STANDBY', 'warm', { standby: 'warm' }],
  ['--on-doubt', 'LEADER_ON_DOUBT', 'stop', { onDoubt: 'stop' }],
  ['--on-change', 'LEADER_ON_CHANGE', 'ignore', { onChange: 'ignore' }],
  ['--health-interval', 'LEADER_HEALTH_INTERVAL', '3s', { healthIntervalMs: 3000 }],
  ['--health-timeout', 'LEADER_HEALTH_TIMEOUT', '4s', { healthTimeoutMs: 4000 }],
  ['--health-failures', 'LEADER_HEALTH_FAILURES', '5', { healthFailures: 5 }],
  ['--busy-timeout', 'LEADER_BUSY_TIMEOUT', '1m', { busyTimeoutMs: 60_000 }],
  ['--start-timeout', 'LEADER_START_TIMEOUT', '1m', { startTimeoutMs: 60_000 }],
  ['--drain-timeout', 'LEADER_DRAIN_TIMEOUT', '0', { drainTimeoutMs: 0 }],
  ['--stop-timeout', 'LEADER_STOP_TIMEOUT', '0s', { stopTimeoutMs: 0 }],
  ['--on-crash', 'LEADER_ON_CRASH', 'restart', { onCrash: 'restart' }],
  ['--peers', 'LEADER_PEERS', '[fd00::7]:8090', { peers: [{ host: 'fd00::7', port: 8090 }] }],
  ['--failsafe', 'LEADER_FAILSAFE', 'none', { failsafe: 'none' }],
  ['--failsafe-max', 'LEADER_FAILSAFE_MAX', '20m', { failsafeMaxMs: 1_200_000 }],
  ['--traffic', 'LEADER_TRAFFIC', 'readiness', { traffic: { mode: 'readiness' } }],
  ['--hold-timeout', 'LEADER_HOLD_TIMEOUT', '1m', { holdTimeoutMs: 60_000 }],
  ['--hold-limit', 'LEADER_HOLD_LIMIT', '5000', { holdLimit: 5000 }],
  ['--queue-wait', 'LEADER_QUEUE_WAIT', '0', { queueWaitMs: 0 }],
  ['--quiet-timeout', 'LEADER_QUIET_TIMEOUT', '0', { quietTimeoutMs: 0 }],
  ['--stream-grace', 'LEADER_STREAM_GRACE', '0', { streamGraceMs: 0 }],
  ['--log-level', 'LEADER_LOG_LEVEL', 'debug', { logLevel: 'debug' }],
]

const FRONT = { LEADER_TRAFFIC: 'front', POD_IP: '10.1.2.3' }
const byFront = (address: string, from: string | null, more: object = {}) => ({
  pod: { ...DEFAULTS.pod, ip: from },
  traffic: { mode: 'front', listen: { host: null, port: 8091 }, address, from, ...more },
})
/** The environment of `run` outside of a pod. */
const NO_POD = { POD_NAME: '', POD_UID: '', LEADER_IDENTITY: 'me', LEADER_TRAFFIC: 'front' }
const onMachine = (address: string, host: string | null = null) => ({
  identity: 'me',
  pod: { ...DEFAULTS.pod, name: null, uid: null },
  traffic: { mode: 'front', listen: { host, port: 8091 }, address, from: null },
})

const AT_LISTEN = onMachine('10.0.0.7:8091', '10.0.0.7')
const REPORTING = { reportLostPods: true, peers: [{ host: 'b', port: 1 }] }
const WITHOUT_UID = { identity: 'me', pod: { ...DEFAULTS.pod, uid: null } }

const RULES: [what: string, args: string[], env: NodeJS.ProcessEnv, meaning: object][] = [
  ['have the defaults of the contract', [], {}, {}],
  ['announce the address of the pod', [], FRONT, byFront('10.1.2.3:8091', '10.1.2.3')],
  ['put IPv6 in brackets', [], { ...FRONT, POD_IP: 'fd00::7' }, byFront('[fd00::7]:8091', 'fd00::7')],
  ['announce the address of the flag', ['--front-address=a.b:80'], FRONT, byFront('a.b:80', '10.1.2.3')],
  ['announce the loopback address outside of a pod', [], NO_POD, onMachine('127.0.0.1:8091')],
  ['announce --front-listen outside of a pod', ['--front-listen=10.0.0.7:8091'], NO_POD, AT_LISTEN],
  [
    'follow the flag if the variable is invalid',
    ['--hold-limit', '5'],
    { LEADER_HOLD_LIMIT: 'x' },
    { holdLimit: 5 },
  ],
  ['ignore an empty variable', [], { LEADER_LEASE_NAMESPACE: '', LEADER_TARGET: '' }, {}],
  ['take --identity instead of an incomplete one', ['--identity', 'me'], { POD_UID: '' }, WITHOUT_UID],
  ['take --report-lost-pods without a value', ['--report-lost-pods', '--peers=b:1'], {}, REPORTING],
  ['take LEADER_REPORT_LOST_PODS', ['--peers=b:1'], { LEADER_REPORT_LOST_PODS: 'true' }, REPORTING],
]

describe("the agent's options", () => {
  for (const [what, args, env, meaning] of RULES)
    it(what, async () => {
      const { agent } = await parse(['agent', ...args], { ...POD, ...env })
      assert.deepEqual(agent, { ...DEFAULTS, ...meaning })
    })

  for (const [flag, variable, text, meaning] of FLAGS)
    it(`take ${flag} from the command line or from ${variable}`, async () => {
      const expected = { ...DEFAULTS, ...meaning }
      assert.deepEqual((await parse(['agent', flag, text], POD)).agent, expected)
      assert.deepEqual((await parse(['agent'], { ...POD, [variable]: text })).agent, expected)
    })

  it('are all in this table', () => {
    // The rules above have the flag that takes no value.
    const { pod: _, reportLostPods: __, ...flags } = DEFAULTS
    assert.equal(FLAGS.length, Object.keys(flags).length)
  })
})

describe('an invalid option', () => {
  /** The problem of each command line. Words that begin with a variable's name go to the environment. */
  const cases: Readonly<Record<string, RegExp>> = {
    '--lease-duration=15': /: --lease-duration '15': .* 15s/,
    'LEADER_LEASE_DURATION=15': /: LEADER_LEASE_DURATION '15': .* 15s/,
    '--health-failures=0': /--health-failures '0': .* from 1 to 999/,
    '--standby=frozen': /--standby 'frozen': .* cold, warm/,
    'LEADER_TARGET=http://u:hunter2@127.0.0.1:1': /LEADER_TARGET 'http:\/\/\[redacted\]@127\.0\.0\.1:1': use/,
    '--listen=:7860': /--listen and --target have the same port \(7860\)/,
    '--traffic=front': /requires POD_IP: .* status\.podIP/,
    '--front-address=10.0.0.7': /--front-address '10\.0\.0\.7': .* with a port/,
    '--front-listen=:0': /--front-listen ':0': use a port/,
    '--traffic=front --front-listen=:8090': /--front-listen and --listen have the same port/,
    '--traffic=front --front-listen=:7860': /--front-listen and --target have the same port/,
    '--traffic=front --target=https://127.0.0.1:7860': /requires HTTP to LangFlow/,
    '--report-lost-pods': /requires --peers/,
    '--failsafe=peers': /requires --peers/,
    '--failsafe=peers --peers=b:1 --failsafe-max=29s': /set it to at least 30s/,
    '--traffic=front --stream-grace=6s': /--stream-grace \(6s\) is longer than --drain-timeout \(5s\)/,
    '--lease-duration=11s': /set --lease-duration to at least 12s/,
    '--kill-margin=5500ms': /\(5s500ms\).*set --lease-duration to at least 16s/,
    '--renew-deadline=2400ms': /1\.2 times --retry-period \(2s\): set --renew-deadline to at least 2s500ms/,
    '--kill-margin=100ms --on-doubt=stop': /--kill-margin \(100ms\) .* set it to at least 300ms/,
    '--kill-margin=100ms --renew-deadline=14800ms': /--renew-deadline \(14s800ms\) .* at most 14s700ms/,
  }
  for (const [line, problem] of Object.entries(cases)) {
    it(`is reported in one sentence: ${line}`, async () => {
      const args = line.split(' ').filter((word) => word.startsWith('--'))
      const variables = line.split(' ').filter((word) => !word.startsWith('--'))
      const env = Object.fromEntries(variables.map((variable) => variable.split(/=(.*)/s, 2)))
      const refusal = { name: 'UsageError', exitCode: 2, message: problem }
      await assert.rejects(parse(['agent', ...args], { ...POD, ...env }), refusal)
    })
  }

  it('is reported in fewer than 500 characters', async () => {
    await assert.rejects(
      parse(['agent', '--lease-name', 'A'.repeat(10_000)], POD),
      ({ message }: Error) => message.length < 500,
    )
  })

  it('is refused only beyond the limit of a cross-field check', async () => {
    const { agent } = await parse(['agent', '--lease-duration', '12s', '--retry-period', '8333ms'], POD)
    assert.equal(agent?.retryPeriodMs, 8333)
    for (const args of [
      ['--on-doubt=stop', '--kill-margin=265ms'],
      ['--renew-deadline=14735ms', '--kill-margin=100ms'],
    ]) {
      assert.ok((await parse(['agent', ...args], POD)).agent)
      const tighter = args.map((arg) => arg.replace('265', '264').replace('14735', '14736'))
      await assert.rejects(parse(['agent', ...tighter], POD), UsageError)
    }
  })
})

describe("the launcher's options", () => {
  it('take several paths, from repeated flags or from the variables', async () => {
    const given = { handoverOnChange: ['/flows', '/etc/certs'], envFile: ['/vault/env'] }
    const variables = { LEADER_HANDOVER_ON_CHANGE: '/flows/, /etc/certs', LEADER_ENV_FILE: '/vault/env' }
    const [flows, certs] = ['--handover-on-change=/flows', '--handover-on-change=/etc/../etc/certs']
    const flags = [flows!, certs!, '--env-file=/vault/env']
    for (const { launcher } of [
      await parse(['launch', ...flags, '--', 'langflow']),
      await parse(['launch', '--', 'langflow'], variables),
      { launcher: (await parse(['run', ...flags, '--', 'langflow'])).run?.launcher },
    ]) {
      const { handoverOnChange, envFile } = launcher!
      assert.deepEqual({ handoverOnChange, envFile }, given)
    }
    for (const path of ['flows', '/flows,,/more'])
      await assert.rejects(parse(['launch', '--handover-on-change', path, '--', 'x']), UsageError)
  })

  it('leave everything after -- untouched', async () => {
    const command = ['sh', '-c', 'a "$@"', '--', '--socket', '/x', '--help', '-V', '', '--no-such=1']
    const { launcher } = await parse(['launch', '--socket', '/run/s', '--', ...command])
    assert.deepEqual(launcher?.command, command)
    assert.equal(launcher?.socket, '/run/s')
  })

  it('leave the command untouched if -- is missing, and require one', async () => {
    const { launcher } = await parse(['launch', 'langflow', 'run', '--log-level', 'debug'])
    assert.deepEqual(launcher?.command, ['langflow', 'run', '--log-level', 'debug'])
    for (const args of [['launch'], ['run', '--'], ['run', '--', '']])
      await assert.rejects(parse(args), { name: 'UsageError', message: /missing LangFlow's command/ })
  })
})

describe('the options of run', () => {
  it('put socket and state into one private directory', async () => {
    const { run } = await parse(['run', '--', 'langflow'], POD)
    assert.match(run?.privateDir ?? '', /\/langflow-leader-[0-9a-f]{16}$/)
    assert.equal(run?.agent.socket, `${run?.privateDir}/launcher.sock`)
    assert.equal(run?.agent.stateDir, `${run?.privateDir}/state`)
    assert.equal(run?.launcher.socket, run?.agent.socket)
    assert.deepEqual(run?.agent, { ...DEFAULTS, socket: run?.agent.socket, stateDir: run?.agent.stateDir })
  })

  it('use no private directory if both paths are set', async () => {
    const { run } = await parse(['run', '--socket=/run/s', '--state-dir=/var/s', 'x'])
    assert.equal(run?.privateDir, null)
    const usual = { stopTimeoutMs: 30_000, logLevel: 'info', handoverOnChange: [], envFile: [] }
    assert.deepEqual(run?.launcher, { ...usual, socket: '/run/s', command: ['x'] })
  })
})
