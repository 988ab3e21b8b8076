import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ReplicaOptions, WORKLOAD } from './replica.ts'

/**
 * Makes a `langflow` in `dir` that can be warm, and then goes on as the stand-in workload: what a replica needs to run
 * it. `hangs`: its imports never end, but a cold start needs none of them.
 */
export function prewarmable(
  dir: string,
  { hangs = false } = {},
): Required<Pick<ReplicaOptions, 'program' | 'env' | 'flags'>> {
  const modules = join(dir, 'modules')
  mkdirSync(join(modules, 'langflow'), { recursive: true })
  const module = (name: string, text: string) => writeFileSync(join(modules, 'langflow', `${name}.py`), text)
  for (const name of ['__init__', '__main__', 'server']) module(name, '')
  module('main', 'import os, time\nif os.environ.get("IMPORTS_HANG"): time.sleep(86400)\n')
  const [node, workload] = [process.execPath, WORKLOAD].map((path) => JSON.stringify(path))
  module(
    'langflow_launcher',
    `import os, sys\ndef main():\n  os.execv(${node}, [${node}, ${workload}, *sys.argv[2:]])\n`,
  )
  const script = join(dir, 'langflow')
  writeFileSync(script, '#!/usr/bin/env python3\nfrom langflow.langflow_launcher import main\nmain()\n')
  chmodSync(script, 0o755)
  return {
    program: [script, 'run'],
    env: { PYTHONPATH: modules, ...(hangs ? { IMPORTS_HANG: '1' } : {}) },
    flags: ['--standby=warm'],
  }
}
