#!/usr/bin/env node
// build.mjs [DIR]: writes into DIR (dist) the kubectl plugin for this machine's platform as one executable that needs no Node,
// kubectl-langflow_leader-OS-ARCH: Node's own single executable application. It has only the commands for people: the others
// start Node again.
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inject } from 'postject'

const [directory = 'dist'] = process.argv.slice(2)
const platform = `${process.platform}-${process.arch.replace('x64', 'amd64')}`
const target = join(directory, `kubectl-langflow_leader-${platform}`)
const isMac = process.platform === 'darwin'
const draft = mkdtempSync(join(tmpdir(), 'executable-'))
const [bundle, main, settings, blob] = ['bundle.mjs', 'main.cjs', 'sea.json', 'blob'].map((file) =>
  join(draft, file),
)
const run = (command, ...args) => execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })

try {
  run(process.execPath, join(import.meta.dirname, '../bundle/build.mjs'), bundle)
  // The bundle's first lines replace a process that obeyed NODE_OPTIONS: this one never does. Its last line imports the program,
  // and the main script of an executable may import only Node's own modules.
  const text = readFileSync(bundle, 'utf8')
  const chunks = text.slice(text.indexOf('\n(function start('), text.lastIndexOf('\nawait import('))
  writeFileSync(main, `(${refuse})();${chunks};(${load})()\n`)
  const flags = ['--disable-sigusr1', '--disable-warning=ExperimentalWarning']
  const options = { execArgv: flags, execArgvExtension: 'none', disableExperimentalSEAWarning: true }
  writeFileSync(settings, JSON.stringify({ main, output: blob, ...options }))
  run(process.execPath, '--experimental-sea-config', settings)

  mkdirSync(directory, { recursive: true })
  copyFileSync(process.execPath, target)
  chmodSync(target, 0o755)
  if (isMac) run('codesign', '--remove-signature', target)
  else run('strip', target)
  const sentinelFuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'
  await inject(target, 'NODE_SEA_BLOB', readFileSync(blob), { sentinelFuse, machoSegmentName: 'NODE_SEA' })
  if (isMac) run('codesign', '--sign', '-', target)
} finally {
  rmSync(draft, { recursive: true, force: true })
}
run(target, '--version')

/** Runs in the executable. */
function refuse() {
  const [, , command] = process.argv
  if (!/^(agent|launch|front|run|install)$/.test(command)) return
  process.stderr.write(`langflow-leader: \`${command}\` needs the image, or the program for Node\n`)
  process.exit(2)
}

/** Runs in the executable. */
function load() {
  const { Script, constants } = require('node:vm')
  const own = { importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER }
  new Script('import("langflow-leader:/main.js")', own).runInThisContext()
}
