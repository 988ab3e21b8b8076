import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ReplicaOptions } from './replica.ts'

const TREE = join(import.meta.dirname, '../fault-table/tree-workload.py')
const MODULES = ['__init__', '__main__', 'main', 'server']

/**
 * A stand-in for LangFlow that a launcher can keep warm: a package of that name, whose `langflow run` becomes the
 * processes of `tree-workload.py`. For a pod; its package is written below `dir`.
 */
export function preparedLangflow(dir: string): Partial<ReplicaOptions> {
  const python = '/usr/bin/python3' // one that every user may start
  const home = join(dir, 'prepared')
  const program = join(home, 'langflow')
  const modules = join(home, 'modules')
  mkdirSync(join(modules, 'langflow'), { recursive: true })
  for (const name of MODULES) writeFileSync(join(modules, 'langflow', `${name}.py`), '')
  writeFileSync(
    join(modules, 'langflow/langflow_launcher.py'),
    `
import runpy, sys
def main():
    del sys.argv[1]
    runpy.run_path(${JSON.stringify(TREE)}, run_name="__main__")
`,
  )
  const script = `#!${python}\nimport sys\nfrom langflow.langflow_launcher import main\nsys.exit(main())\n`
  writeFileSync(program, script, { mode: 0o755 })
  return { program: [program, 'run'], flags: ['--standby=warm'], env: { PYTHONPATH: modules } }
}
