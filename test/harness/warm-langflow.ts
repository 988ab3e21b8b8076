import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ReplicaOptions, WORKLOAD } from './replica.ts'

const TREE = join(import.meta.dirname, 'tree-workload.py')
const MODULES = ['__init__', '__main__']
const [node, workload, tree] = [process.execPath, WORKLOAD, TREE].map((path) => JSON.stringify(path))
/** The last step of `langflow run`, and an interpreter for it. The Python of `tree` is one that any user may start. */
const KINDS = {
  workload: {
    python: '/usr/bin/env python3',
    main: `import os; os.execv(${node}, [${node}, ${workload}, *sys.argv[2:]])`,
  },
  tree: {
    python: '/usr/bin/python3',
    main: `import runpy; del sys.argv[1]; runpy.run_path(${tree}, run_name="__main__")`,
  },
} as const

/**
 * Makes a stand-in for LangFlow below `dir`, as a Python package `langflow`, which a launcher can keep warm. Returns the options for
 * a replica that runs it. After its grant, it continues as the stand-in workload, or as the processes of `tree-workload.py`.
 * `hangs`: its imports never end, but a cold start doesn't need them.
 */
export function warmLangflow(
  dir: string,
  { kind = 'workload', hangs = false }: { kind?: keyof typeof KINDS; hangs?: boolean } = {},
): Required<Pick<ReplicaOptions, 'program' | 'env' | 'flags'>> {
  const { python, main } = KINDS[kind]
  const home = join(dir, 'warm')
  const modules = join(home, 'modules')
  const program = join(home, 'langflow')
  mkdirSync(join(modules, 'langflow'), { recursive: true })
  const module = (name: string, text: string) => writeFileSync(join(modules, 'langflow', `${name}.py`), text)
  for (const name of MODULES) module(name, '')
  module('main', 'import os, time\nif os.environ.get("IMPORTS_HANG"): time.sleep(86400)\n')
  module(
    'server',
    'class LangflowApplication:\n    def __init__(self, app_factory):\n        app_factory()\n',
  )
  module(
    'langflow_launcher',
    `import sys\ndef main():\n    import langflow.server; langflow.server.LangflowApplication(lambda: None); ${main}\n`,
  )
  const script = `#!${python}\nimport sys\nfrom langflow.langflow_launcher import main\nsys.exit(main())\n`
  writeFileSync(program, script, { mode: 0o755 })
  return {
    program: [program, 'run'],
    env: { PYTHONPATH: modules, ...(hangs ? { IMPORTS_HANG: '1' } : {}) },
    flags: ['--standby=warm'],
  }
}
