import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { planFrozen, UnfitError } from '../../agent/workload/frozen-plan.ts'

const COMMAND = ['langflow', 'run']
const DATABASE = 'postgresql://db.example/langflow'

function plan(env: NodeJS.ProcessEnv, ...more: readonly string[]) {
  return planFrozen([...COMMAND, ...more], { LANGFLOW_DATABASE_URL: DATABASE, ...env })
}

const databaseOf = (url: string) => plan({ LANGFLOW_DATABASE_URL: url }).database

function envFile(t: TestContext, text: string): string {
  const dir = mkdtempSync(join(tmpdir(), 'frozen-plan-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const file = join(dir, '.env')
  writeFileSync(file, text)
  return file
}

/** The sentence that refuses these. */
function refusal(command: readonly string[], env: NodeJS.ProcessEnv): string {
  try {
    planFrozen(command, env)
  } catch (error) {
    assert.ok(error instanceof UnfitError)
    return error.message
  }
  return assert.fail('it was not refused')
}

describe('a database that LangFlow cannot share is refused', () => {
  const rest =
    ', and a frozen standby needs a PostgreSQL that all replicas share: set LANGFLOW_DATABASE_URL for the container, or use --standby=prewarmed'
  const unset =
    'LANGFLOW_DATABASE_URL is not in its environment, so that its database is SQLite unless its own script sets one'
  const cases: [string, string | undefined, string][] = [
    ['none that is known', undefined, unset],
    ['an empty one', '', unset],
    ['SQLite', 'sqlite:////data/s3cret.db', 'its database is SQLite'],
    ['SQLite with a driver', 'sqlite+aiosqlite:///./s3cret.db', 'its database is SQLite'],
    ['SQLite in capitals', 'SQLITE:///s3cret.db', 'its database is SQLite'],
    ['MySQL', 'mysql+pymysql://user:s3cret@host/db', 'its database is no PostgreSQL'],
    [
      'one whose name only begins alike',
      'postgresqlx://user:s3cret@host/db',
      'its database is no PostgreSQL',
    ],
    ['what is no URL at all', 's3cret', 'its database is no PostgreSQL'],
  ]
  for (const [name, url, what] of cases) {
    test(name, () => {
      const env = url === undefined ? {} : { LANGFLOW_DATABASE_URL: url }
      assert.equal(refusal(COMMAND, env), what + rest)
    })
  }
})

describe('the address of the database', () => {
  const cases: [string, string, { host: string; port: number } | null][] = [
    ['is read with its port', 'postgresql://user:pw@db.example:6432/db', { host: 'db.example', port: 6432 }],
    [
      'has PostgreSQL’s own port by default',
      'postgresql://db.example/db',
      { host: 'db.example', port: 5432 },
    ],
    ['is read from a "postgres:" URL', 'postgres://user@db.example/db', { host: 'db.example', port: 5432 }],
    ['is read beside a driver', 'postgresql+psycopg://u:p@10.0.0.7:1/db', { host: '10.0.0.7', port: 1 }],
    ['is read in capitals', 'PostgreSQL://db.example/db', { host: 'db.example', port: 5432 }],
    ['may be an IPv6 one', 'postgresql://u:p@[fd00::7]:5433/db', { host: 'fd00::7', port: 5433 }],
    [
      'is read beside other options',
      'postgresql://db.example/db?sslmode=require',
      { host: 'db.example', port: 5432 },
    ],
    ['is unknown for several hosts', 'postgresql://u:p@one:5432,two:5432/db', null],
    ['is unknown for a unix socket', 'postgresql://u:p@/db?host=/run/postgresql', null],
    [
      'is unknown where an option names another host',
      'postgresql://db.example/db?host=one:1&host=two:2',
      null,
    ],
    ['is unknown where an option names another port', 'postgresql://db.example/db?port=6432', null],
    ['is unknown without a host', 'postgresql:///db', null],
    ['is unknown where a password is not encoded', 'postgresql://user:12#34@db.example/db', null],
  ]
  for (const [name, url, address] of cases) {
    test(name, () => assert.deepEqual(databaseOf(url), address))
  }

  test('never is a part of the user’s name or password', () => {
    const word = fc.string({ unit: fc.constantFrom(...'aZ09:/?#&=,.+%@!~ []'), maxLength: 12 })
    fc.assert(
      fc.property(word, word, (user, password) => {
        const address = databaseOf(`postgresql://${user}:${password}@db.example:6432/db`)
        assert.ok(address === null || (address.host === 'db.example' && address.port === 6432))
      }),
    )
  })
})

describe('LANGFLOW_WORKER_TIMEOUT', () => {
  const NOTE =
    'LANGFLOW_WORKER_TIMEOUT=0 is set for LangFlow: a frozen worker must not count as one that hangs'
  const WARNING =
    'LANGFLOW_WORKER_TIMEOUT is not 0: LangFlow replaces its worker when it is thawed after a longer time than that; unset it'

  test('is set to 0 where nothing sets it, which is noted; nothing else of the environment changes', () => {
    const given = { LANGFLOW_DATABASE_URL: DATABASE, PATH: '/bin' }
    const { env, notes } = planFrozen(COMMAND, given)
    assert.deepEqual(env, { ...given, LANGFLOW_WORKER_TIMEOUT: '0' })
    assert.deepEqual(notes, [NOTE])
    assert.ok(!('LANGFLOW_WORKER_TIMEOUT' in given))
  })

  const given: [string, NodeJS.ProcessEnv, string[], string[]][] = [
    ['the environment', { LANGFLOW_WORKER_TIMEOUT: '90' }, [], [WARNING]],
    ['the environment, as 0', { LANGFLOW_WORKER_TIMEOUT: '0' }, [], []],
    ['an option', {}, ['--worker-timeout', '90'], [WARNING]],
    ['an option, as 0', {}, ['--worker-timeout', '0'], []],
    ['an option with "="', {}, ['--worker-timeout=90'], [WARNING]],
    ['an option with "=", as 0', {}, ['--worker-timeout=0'], []],
    [
      'an option before the environment',
      { LANGFLOW_WORKER_TIMEOUT: '0' },
      ['--worker-timeout=90'],
      [WARNING],
    ],
    ['the last of two options', {}, ['--worker-timeout=90', '--worker-timeout', '0'], []],
  ]
  for (const [name, env, options, notes] of given) {
    test(`is left to ${name}`, () => {
      const planned = plan(env, ...options)
      assert.equal(planned.env.LANGFLOW_WORKER_TIMEOUT, env.LANGFLOW_WORKER_TIMEOUT)
      assert.deepEqual(planned.notes, notes)
    })
  }

  test('is left to an env file, whose value is not passed on', (t) => {
    for (const [value, notes] of [
      ['90', [WARNING]],
      ['0', []],
    ] as const) {
      const planned = plan({}, '--env-file', envFile(t, `LANGFLOW_WORKER_TIMEOUT=${value}\n`))
      assert.equal(planned.env.LANGFLOW_WORKER_TIMEOUT, undefined)
      assert.deepEqual(planned.notes, notes)
    }
  })

  test('of an env file comes before that of the environment', (t) => {
    const file = envFile(t, 'LANGFLOW_WORKER_TIMEOUT=90\n')
    const planned = plan({ LANGFLOW_WORKER_TIMEOUT: '0' }, `--env-file=${file}`)
    assert.deepEqual(planned.notes, [WARNING])
  })
})

describe('an env file', () => {
  test('comes before the environment for the database, also where it asks for SQLite', (t) => {
    const better = envFile(t, '# its database\nLANGFLOW_DATABASE_URL="postgresql://u:p@other:7/db"\n')
    const { env, database } = plan({}, '--env-file', better)
    assert.deepEqual(database, { host: 'other', port: 7 })
    assert.equal(env.LANGFLOW_DATABASE_URL, DATABASE, 'it is LangFlow that reads it')
    const worse = envFile(t, 'LANGFLOW_DATABASE_URL=sqlite:///x.db\n')
    assert.match(
      refusal([...COMMAND, `--env-file=${worse}`], { LANGFLOW_DATABASE_URL: DATABASE }),
      /^its database is SQLite/,
    )
  })

  test('that cannot be read counts as empty', (t) => {
    const missing = `${envFile(t, '')}.missing`
    assert.deepEqual(plan({}, '--env-file', missing).database, { host: 'db.example', port: 5432 })
    assert.match(refusal([...COMMAND, '--env-file', missing], {}), /so that its database is SQLite/)
  })

  test('that is not named is none', () => {
    assert.deepEqual(plan({}, '--env-file').database, { host: 'db.example', port: 5432 })
  })
})

test('the flows are those of the environment, or of the env file; an empty value means none', (t) => {
  assert.equal(plan({}).flows, null)
  assert.equal(plan({ LANGFLOW_LOAD_FLOWS_PATH: '' }).flows, null)
  assert.equal(plan({ LANGFLOW_LOAD_FLOWS_PATH: '/flows' }).flows, '/flows')
  const file = envFile(t, 'LANGFLOW_LOAD_FLOWS_PATH=/other\n')
  assert.equal(plan({ LANGFLOW_LOAD_FLOWS_PATH: '/flows' }, '--env-file', file).flows, '/other')
})

test('no sentence holds a value', () => {
  const secret = 'Zq7'
  const anything = fc.string({ maxLength: 20 }).map((text) => `${secret}${text}`)
  const url = fc.oneof(
    anything,
    fc
      .tuple(fc.constantFrom('sqlite', 'mysql', 'postgresql', 'postgres', 'postgresql+psycopg'), anything)
      .map(([scheme, rest]) => `${scheme}://${rest}`),
  )
  const values = fc.record({ url, timeout: anything, option: fc.option(anything, { nil: undefined }) })
  fc.assert(
    fc.property(values, ({ url, timeout, option }) => {
      const command = option === undefined ? COMMAND : [...COMMAND, '--worker-timeout', option]
      const env = { LANGFLOW_DATABASE_URL: url, LANGFLOW_WORKER_TIMEOUT: timeout }
      let said: readonly string[] = []
      try {
        said = planFrozen(command, env).notes
      } catch (error) {
        assert.ok(error instanceof UnfitError)
        said = [error.message]
      }
      assert.ok(said.length > 0)
      for (const sentence of said) assert.ok(!sentence.includes(secret), sentence)
    }),
  )
})

describe('a frozen LangFlow is started', () => {
  const env = { LANGFLOW_DATABASE_URL: 'postgresql://db/langflow' }

  test('with everything imported that its first flow needs, where its command tells how', () => {
    const { command, env: set } = planFrozen(['sh', '-c', 'A=1 exec python3 -m langflow run --port 1'], env)
    assert.deepEqual(
      [command[0], command[1], ...command.slice(3)],
      ['python3', '-c', process.cwd(), 'langflow', 'run', '--port', '1'],
    )
    assert.match(command[2] ?? '', /__import__\("langflow\.services\.tracing\."/)
    assert.equal(set.A, '1')
  })

  test('by its command as it is where that does more', () => {
    const wrapped = ['sh', '-c', 'prepare; langflow run']
    assert.deepEqual(planFrozen(wrapped, env).command, wrapped)
  })
})
