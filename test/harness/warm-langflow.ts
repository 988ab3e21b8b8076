import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ReplicaOptions, WORKLOAD } from './replica.ts'

const TREE = join(import.meta.dirname, 'tree-workload.py')
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
 * The files of a stand-in for LangFlow that a launcher can keep warm: the program `langflow`, and a Python package for PYTHONPATH in
 * `modules`. `main`: the Python code that runs after its grant, in one line.
 */
export function warmFiles(python: string, main: string): Readonly<Record<string, string>> {
  const module = (name: string) => `modules/langflow/${name}.py`
  return {
    langflow: `#!${python}\nimport sys\nfrom langflow.langflow_launcher import main\nsys.exit(main())\n`,
    [module('__init__')]: '',
    [module('__main__')]: '',
    [module('main')]: 'import os, time\nif os.environ.get("IMPORTS_HANG"): time.sleep(86400)\n',
    [module('server')]:
      'class LangflowApplication:\n    def __init__(self, app_factory):\n        app_factory()\n',
    [module('langflow_launcher')]:
      `import sys\ndef main():\n    import langflow.server; langflow.server.LangflowApplication(lambda: None); ${main}\n`,
  }
}

/**
 * Writes such a stand-in below `dir`. Returns the options for a replica that runs it. After its grant, it continues as the stand-in
 * workload, or as the processes of `tree-workload.py`. `hangs`: its imports never end, but a cold start doesn't need them.
 */
export function warmLangflow(
  dir: string,
  { kind = 'workload', hangs = false }: { kind?: keyof typeof KINDS; hangs?: boolean } = {},
): Required<Pick<ReplicaOptions, 'program' | 'env' | 'flags'>> {
  const { python, main } = KINDS[kind]
  const home = join(dir, 'warm')
  mkdirSync(join(home, 'modules/langflow'), { recursive: true })
  for (const [name, text] of Object.entries(warmFiles(python, main)))
    writeFileSync(join(home, name), text, { mode: 0o755 })
  return {
    program: [join(home, 'langflow'), 'run'],
    env: { PYTHONPATH: join(home, 'modules'), ...(hangs ? { IMPORTS_HANG: '1' } : {}) },
    flags: ['--standby=warm'],
  }
}
