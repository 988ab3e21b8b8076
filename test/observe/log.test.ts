import assert from 'node:assert/strict'
import { type StdioOptions, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { createLog, EVENTS, type LogFields, type LogOptions, LogThrottle } from '../../agent/observe/log.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'

function logged(options: Partial<LogOptions> = {}) {
  const lines: string[] = []
  const log = createLog({
    identity: 'me',
    level: 'info',
    component: 'agent',
    clock: new VirtualClock(0),
    stream: { write: (line) => lines.push(line) },
    ...options,
  })
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? 'null') }
}

const TIME = '2023-11-14T22:13:20.000Z'

describe('a line of the log', () => {
  it('of an event has level, time, component, identity, epoch, event, code, reason and msg, in this order', () => {
    const { log, lines } = logged()
    log.event('lost', { epoch: 7, reason: 'no answer', code: 'no_renewal', afterMs: 14_000 })
    assert.equal(
      lines[0],
      `{"level":"warn","time":"${TIME}","component":"agent","identity":"me","epoch":7,"event":"lost","code":"no_renewal","reason":"no answer","afterMs":14000,"msg":"lost the Lease"}\n`,
    )
  })

  it('of each event has identity, epoch and a sentence', () => {
    const { log, last } = logged()
    for (const name of EVENTS) {
      log.event(name, { epoch: 0 })
      const { level, msg, ...rest } = last()
      assert.match(level, /^(info|warn|fatal)$/)
      assert.ok(msg.length > 5)
      assert.deepEqual(rest, { time: TIME, component: 'agent', identity: 'me', epoch: 0, event: name })
    }
  })

  it('can have another identity and another message', () => {
    const { log, lines } = logged({ component: 'launcher', identity: '' })
    log.event('workload_frozen', { epoch: 3, identity: 'pod_uid' })
    assert.equal(
      lines[0],
      `{"level":"warn","time":"${TIME}","component":"launcher","identity":"pod_uid","epoch":3,"event":"workload_frozen","msg":"froze LangFlow"}\n`,
    )
  })

  it('that is no event has its fields, and the identity if there is one', () => {
    const { log, lines } = logged()
    log.error('cannot renew', { code: 'timeout' })
    assert.equal(
      lines[0],
      `{"level":"error","time":"${TIME}","component":"agent","identity":"me","code":"timeout","msg":"cannot renew"}\n`,
    )
    const { log: anonymous, last } = logged({ identity: '' })
    anonymous.info('hello')
    assert.equal('identity' in last(), false)
  })

  it('below the configured level is not written', () => {
    const { log, lines } = logged({ level: 'warn' })
    log.info('x')
    log.event('acquired', { epoch: 1 })
    log.warn('a\nb', { text: 'c\nd' })
    assert.deepEqual([lines.length, lines[0]!.indexOf('\n')], [1, lines[0]!.length - 1])
  })
})

describe('a secret in the log', () => {
  const JWT = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl'

  it('is redacted in messages, reasons and nested fields', () => {
    const { log, lines } = logged()
    log.warn(`401 for ${JWT}`, { nested: { list: ['Bearer hunter2'], because: 'Basic aHVudGVyMg==' } })
    log.event('fatal', { epoch: 1, reason: `Bearer ${JWT}` })
    const key = `hunter2${'_'.repeat(15)}`
    log.warn(`refused: ${JSON.stringify({ 'langflow-leader/front': `7 10.1.2.3:8091 ${key}` })}`)
    log.warn(`refused: langflow-leader-hop: 7 ${key}`)
    for (const line of lines) {
      assert.doesNotMatch(line, /hunter2|eyJ|aHVudGVy/)
      assert.match(JSON.stringify(JSON.parse(line)), /\[redacted\]/)
    }
  })
})

describe('the log', () => {
  /** Arguments of a Node process that runs this code with a `log` to standard output. */
  const script = (body: string) => [
    '--input-type=module-typescript',
    '-e',
    `import { createLog } from './agent/observe/log.ts'
    const log = createLog({ identity: 'me', level: 'info', component: 'agent' })
    ${body}`,
  ]
  const cwd = new URL('../..', import.meta.url)

  it('is complete when its process ends', () => {
    const args = script(`
      for (let i = 0; i < 2000; i++) log.event('campaigning', { epoch: i })
      log.event('lost', { epoch: 2000, reason: 'gone' })
      process.exitCode = 3`)
    const { stdout, status } = spawnSync(process.execPath, args, { cwd, encoding: 'utf8', timeout: 20_000 })
    const lines = stdout.trimEnd().split('\n')
    assert.deepEqual([status, lines.length], [3, 2001])
    assert.equal(JSON.parse(lines.at(-1)!).event, 'lost')
  })

  it('does not block the process if its reader has stalled', async () => {
    const args = script(`
      for (let i = 0; i < 20_000; i++) log.event('campaigning', { epoch: i })
      setTimeout(() => process.stderr.write('alive'), 1)`)
    // The test does not read standard output, so the pipe is full long before the last line.
    const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
    try {
      const [said] = await once(child.stderr, 'data')
      assert.equal(String(said), 'alive')
    } finally {
      child.kill('SIGKILL')
    }
  })

  it('to a full disk does not stop the process or delay its end', () => {
    const args = script(`
      log.event('campaigning', { epoch: 0 })
      setTimeout(() => process.stderr.write('alive'), 50)`)
    const full = openSync('/dev/full', 'w')
    try {
      const stdio: StdioOptions = ['ignore', full, 'pipe']
      const ended = spawnSync(process.execPath, args, { cwd, encoding: 'utf8', stdio, timeout: 20_000 })
      assert.deepEqual([ended.stderr, ended.status], ['alive', 0])
    } finally {
      closeSync(full)
    }
  })
})

describe('the queries of the guide', () => {
  const read = (path: string) => readFileSync(join(import.meta.dirname, '../..', path), 'utf8')
  const queries = ['docs/guide/logs.md', 'docs/guide/monitor.md'].flatMap((page) =>
    [...read(page).matchAll(/^```(sh|logql|esql)\n([\s\S]*?)^```/gm)].map(([, language, text]) => ({
      language,
      // A query names a field as `.identity`, `{{.identity}}`, `leader.identity` or `| identity=`.
      fields: [...text!.matchAll(/(?:[[ (]|\{\{|leader)\.(\w+)|\| (\w+) ?[=<>]/g)].map(
        (found) => found[1] ?? found[2]!,
      ),
    })),
  )

  it('use only fields that a log line has', () => {
    const { log, last } = logged()
    log.event('lost', { epoch: 7, reason: 'no answer', code: 'no_renewal' })
    const used = new Set(queries.flatMap(({ fields }) => fields))
    assert.ok(used.size > 5)
    for (const field of used) assert.ok(field in last(), field)
  })

  it('use only fields that the Alloy example keeps', () => {
    const example = read('deploy/examples/logs-loki/config.alloy').split('stage.structured_metadata')[1]!
    const kept = new Set([...example.matchAll(/(\w+) += ""/g)].map(([, name]) => name))
    const used = queries.flatMap(({ language, fields }) => (language === 'logql' ? fields : []))
    assert.ok(used.length > 0)
    for (const field of used) assert.ok(kept.has(field), field)
  })
})

function throttled() {
  const lines: [string, LogFields][] = []
  const log = (msg: string, fields: LogFields = {}) => lines.push([msg, fields])
  const clock = new VirtualClock()
  return { lines, clock, repeats: new LogThrottle({ warn: log, info: log }, clock) }
}

describe('a recurring problem', () => {
  it('is logged when it begins, once a minute with a count, and when it ends', async () => {
    const { lines, clock, repeats } = throttled()
    for (let second = 0; second <= 130; second += 2) {
      repeats.happened('api', 'the API server does not answer', { code: 'timeout' })
      await clock.pass(2000)
    }
    repeats.over('api', 'the API server answers again')
    assert.deepEqual(lines, [
      ['the API server does not answer', { code: 'timeout' }],
      ['the API server does not answer', { code: 'timeout', times: 31 }],
      ['the API server does not answer', { code: 'timeout', times: 61 }],
      ['the API server answers again', { times: 66, lasted: '2m12s' }],
    ])
  })

  it('is logged immediately for each new message, up to five in a minute', () => {
    const { lines, repeats } = throttled()
    for (const msg of ['refused', 'timeout', 'refused']) repeats.happened('api', msg)
    assert.deepEqual(
      lines.map(([msg]) => msg),
      ['refused', 'timeout'],
    )
    for (let i = 0; i < 1000; i++) repeats.happened('api', `timeout after ${2000 + i} ms`)
    assert.equal(lines.length, 5)
  })

  it('is logged again once it was over, and is counted apart from other problems', () => {
    const { lines, repeats } = throttled()
    for (const key of ['api', 'launcher']) repeats.happened(key, 'refused')
    for (const _ of [1, 2]) repeats.over('api', 'fine')
    for (const key of ['launcher', 'api']) repeats.happened(key, 'refused')
    assert.deepEqual(
      lines.map(([msg]) => msg),
      ['refused', 'refused', 'fine', 'refused'],
    )
  })
})
