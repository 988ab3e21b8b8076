import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { basename, delimiter, dirname, join } from 'node:path'
import { findProgram } from '../processes/spawn.ts'
import { isVersion } from '../python-version.ts'
import { readLangflowCommand } from './langflow-command.ts'

/** The packages in which LangFlow itself looks for its version. */
const PACKAGES = ['langflow', 'langflow_base', 'langflow_nightly', 'langflow_base_nightly']

/**
 * The version of the LangFlow that a command would start, or `null`: unknown. The interpreter is not asked, because it
 * would run code in its site-packages (`sitecustomize`, `.pth`).
 */
export function langflowVersion(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  cwd = process.cwd(),
): string | null {
  try {
    const { interpreter, argv, importsFrom, environment } = readLangflowCommand(command, env, cwd)
    const given = { ...env, ...environment }
    const python = findProgram(interpreter[0], given)
    const path = (given.PYTHONPATH ?? '').split(delimiter).filter((entry) => entry !== '')
    // A script is beside the packages that it was installed with, even if its interpreter is the machine's.
    const besideScript = argv[0]?.includes('/') ? [dirname(importsFrom)] : []
    const real = realpathSync(python)
    const prefixes = [...besideScript, dirname(dirname(python)), dirname(dirname(real))]
    const sites = prefixes.flatMap((prefix) => sitesBelow(prefix, basename(real)))
    for (const directory of [...path, importsFrom, ...sites]) {
      const version = versionIn(directory)
      if (version !== null) return version
    }
  } catch {
    // The command does not start LangFlow, or LangFlow is not installed.
  }
  return null
}

function sitesBelow(prefix: string, python: string): string[] {
  const own = /^python\d+\.\d+/.exec(python)?.[0]
  return ['lib', 'lib64', 'local/lib'].flatMap((library) => {
    const versions = entriesOf(join(prefix, library)).filter((name) => own === undefined || name === own)
    return versions.flatMap((version) =>
      ['site-packages', 'dist-packages'].map((site) => join(prefix, library, version, site)),
    )
  })
}

/** By the name of its metadata's directory. Without metadata, it is a partial remainder of another version. */
function versionIn(directory: string): string | null {
  const entries = entriesOf(directory)
  for (const name of PACKAGES)
    for (const entry of entries) {
      const [, version = ''] = new RegExp(`^${name}-(.+)\\.dist-info$`).exec(entry) ?? []
      if (isVersion(version) && existsSync(join(directory, entry, 'METADATA'))) return version
    }
  return null
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
