import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { langflowVersion } from '../../agent/launcher/langflow-package.ts'
import { temporaryDirectory } from '../harness/temporary-directory.ts'
import { writeFiles } from './fixtures/write-files.ts'

/** A temporary directory with a system Python, and with a virtual environment that has a `langflow`. */
class Machine {
  readonly dir = temporaryDirectory()
  readonly venv = join(this.dir, 'venv')

  constructor() {
    this.program('usr/bin/python3.11', '')
    mkdirSync(join(this.venv, 'bin'), { recursive: true })
    symlinkSync(join(this.dir, 'usr/bin/python3.11'), join(this.venv, 'bin/python'))
    this.program('venv/bin/langflow', `#!${this.venv}/bin/python\n`)
  }

  program(path: string, text: string): string {
    writeFiles(this.dir, { [path]: text })
    return join(this.dir, path)
  }

  /** Writes a package's metadata into a folder of packages. */
  install(site: string, name: string, version: string): void {
    const metadata = `Metadata-Version: 2.4\nName: ${name}\nVersion: ${version}\n\nText`
    writeFiles(this.dir, { [`${site}/${name}-${version}.dist-info/METADATA`]: metadata })
  }

  version(command = [join(this.venv, 'bin/langflow'), 'run'], env: NodeJS.ProcessEnv = {}): string | null {
    return langflowVersion(command, { PATH: join(this.venv, 'bin'), ...env }, this.dir)
  }
}

const SITE = 'venv/lib/python3.11/site-packages'

describe('the version of LangFlow', () => {
  test('is that of its package, for each form of the command', () => {
    const machine = new Machine()
    machine.install(SITE, 'langflow', '1.13.0')
    machine.install(SITE, 'langflow_base', '0.13.0')
    machine.install(SITE, 'langflow_helper', '7.0')
    for (const command of [
      [join(machine.venv, 'bin/langflow'), 'run'],
      ['langflow', 'run', '--backend-only'],
      ['python', '-m', 'langflow', 'run'],
      ['sh', '-c', 'exec langflow run'],
    ])
      assert.equal(machine.version(command), '1.13.0', command.join(' '))
  })

  test('is that of langflow-base or of a nightly build if there is no langflow', () => {
    for (const name of ['langflow_base', 'langflow_nightly', 'langflow_base_nightly']) {
      const machine = new Machine()
      machine.install(SITE, name, '1.13.0.dev4')
      assert.equal(machine.version(), '1.13.0.dev4')
    }
  })

  test('is that of the package that Python would import', () => {
    const machine = new Machine()
    machine.install(SITE, 'langflow', '1.12.8')
    machine.install('usr/lib/python3.11/dist-packages', 'langflow', '1.0.0')
    assert.equal(machine.version(), '1.12.8')
    machine.install('modules', 'langflow', '1.13.0')
    const PYTHONPATH = `/nowhere:${join(machine.dir, 'modules')}`
    assert.equal(machine.version(undefined, { PYTHONPATH }), '1.13.0')
    assert.equal(machine.version(['sh', '-c', `PYTHONPATH=${PYTHONPATH} langflow run`]), '1.13.0')
  })

  test('is found beside a script that the system’s Python runs', () => {
    const machine = new Machine()
    const script = machine.program('home/.local/bin/langflow', `#!${machine.dir}/usr/bin/python3.11\n`)
    machine.install('home/.local/lib/python3.11/site-packages', 'langflow', '1.13.0')
    assert.equal(machine.version([script, 'run']), '1.13.0')
  })

  test('is not that of a package for another version of Python', () => {
    const machine = new Machine()
    machine.install('venv/lib/python3.10/site-packages', 'langflow', '1.12.8')
    assert.equal(machine.version(), null)
  })

  test('is unknown for another program, without metadata, and with invalid metadata', () => {
    const machine = new Machine()
    assert.equal(machine.version(), null)
    mkdirSync(join(machine.dir, SITE, 'langflow-1.12.8.dist-info'), { recursive: true })
    assert.equal(machine.version(), null)
    machine.install(SITE, 'langflow', 'unknown')
    assert.equal(machine.version(), null)
    machine.install(SITE, 'langflow', '1.13.0')
    assert.equal(machine.version(), '1.13.0')
    assert.equal(machine.version(['uvicorn', 'app']), null)
    assert.equal(machine.version(['langflow', 'run'], { PATH: '' }), null)
  })
})
