import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, test } from 'node:test'
import { readScript } from '../../agent/launcher/start-script.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { writeFiles } from './fixtures/write-files.ts'

const dir = temporaryDirectory()
// The program prints its arguments, then its environment.
writeFiles(dir, { langflow: '#!/bin/sh\nprintf "%s\\0" $# "$@"\nexec env -0\n' })

const ENV = { PATH: `${dir}:/usr/bin:/bin`, A: 'a', EMPTY: '', NOTE: 'two words' }
/** Variables that a shell sets by itself. */
const OF_SHELLS = new Set(['_', 'PWD', 'OLDPWD', 'SHLVL'])
const DATABASE = { DRIVER: 'postgresql', HOST: 'db', USER: 'u', PASSWORD: 'p?* w' }

/** The program, its arguments and its new variables, as read and as a real shell gives them. */
function both(script: string, env: NodeJS.ProcessEnv, shell: string) {
  const stdio = ['ignore', 'pipe', 'inherit'] as const
  const { stdout, status } = spawnSync(shell, ['-c', script], { env, encoding: 'utf8', stdio: [...stdio] })
  assert.equal(status, 0)
  const [, count = '', rest = ''] = /(?:^|\n)(\d+)\0(.*)$/s.exec(stdout) ?? []
  const said = rest.split('\0')
  const words = said.slice(0, Number(count))
  const pairs = said.slice(Number(count), -1).map((one) => [/^\w+/.exec(one)?.[0] ?? '', one] as const)
  const added = pairs.filter(([name, pair]) => pair !== `${name}=${env[name]}` && !OF_SHELLS.has(name))
  const environment = Object.fromEntries(added.map(([name, pair]) => [name, pair.slice(name.length + 1)]))
  const { directories: _, ...read } = readScript(script, env)
  return { read, run: { words: ['langflow', ...words], environment } }
}

/** As the chart langflow-ide writes it, with folded and kept line ends. */
const IDE = `set -e && if [ -n "$DRIVER" ]; then
  echo "using the database at $HOST" &&
  export LANGFLOW_DATABASE_URL="$DRIVER://$USER:$PASSWORD@$HOST:5432/flows"
else
  echo "using SQLite"
fi && langflow run --host 0.0.0.0 --port 7860
`

describe('a start script gives LangFlow the same arguments and variables as the shell', () => {
  for (const [title, script, env] of [
    ['langflow-ide with a database', IDE, DATABASE],
    ['langflow-ide without a database', IDE, {}],
    ['langflow-runtime', `set -e && mkdir -p ${dir} && echo 'Flows downloaded' && langflow run --port 1`, {}],
    ['quotes', `langflow run "is \${NOTE}"'; a'b "" --x=$A"$NOTE"`, {}],
    ['other letters', `langflow run --name=Jürgen "日本"`, {}],
    ['exec, comments and lines', '#!/bin/sh\nset -eu # strict\nexec langflow run \\\n  --port=$A\n', {}],
    ['separators', 'export B=1;set -euo pipefail;langflow run $B', {}],
    ['a variable for one command', 'A=b langflow run "$A"', {}],
    ['an empty variable counts as unset', 'if [ -n "$EMPTY" ]; then export B=1; fi; langflow run', {}],
    ['an if without else', 'if [ -n "$NONE" ]; then export B=$NOTE; fi; langflow run', {}],
  ] as const)
    for (const shell of ['bash', 'dash'])
      test(`${title}, ${shell}`, { skip: shell === 'dash' && script.includes('pipefail') }, () => {
        const { read, run } = both(script, { ...ENV, ...env }, shell)
        assert.deepEqual(read, run)
      })
})

describe('a start script is refused', () => {
  const MORE = /^its shell script does more than set variables and start LangFlow$/
  for (const [script, message] of [
    ['alembic upgrade head && langflow run', MORE],
    ['langflow run; true && x', MORE],
    ['langflow run & ', MORE],
    ['langflow run | cat', MORE],
    ['langflow run > log', MORE],
    ['echo a > /shared/log; langflow run', MORE],
    ['langflow run "$(hostname)"', MORE],
    ['A=`hostname`; langflow run', MORE],
    ['langflow run --x \\', MORE],
    ['langflow run *', MORE],
    ['langflow run a#b', MORE],
    ['if [ -n "$NONE" ]; then alembic upgrade head; fi; langflow run', MORE],
    ['if [ -n "$A" ]; then langflow run; fi', MORE],
    ['if [ -n "$A" ]; then if [ -n "$A" ]; then A=1; fi; fi; langflow run', MORE],
    ['if alembic current; then A=1; fi; langflow run', MORE],
    ['set -a; langflow run', MORE],
    ['set -- a b; langflow run', MORE],
    ['mkdir flows; langflow run', MORE],
    ['A=1', MORE],
    ['B=1; langflow run', MORE],
    ['export B; langflow run', MORE],
    ['', MORE],
    ['langflow run $NOTE', /^put "\$NOTE" in quotes: its value is not one word$/],
    ['A="$A b"; langflow run', MORE],
    ['if [ -z "$A" ]; then export A=1; fi; langflow run', MORE],
    ['langflow run "$NONE"', /^"\$NONE" is not set$/],
  ] as const)
    test(JSON.stringify(script), () => {
      assert.throws(() => readScript(script, ENV), { message })
    })

  test('in a short time if a long text in quotes has no end', () => {
    const text = `langflow run "${'$LF_CHART_EXTERNALDB_PASSWORD '.repeat(20)}`
    assert.throws(() => readScript(text, ENV), { message: MORE })
  })
})
