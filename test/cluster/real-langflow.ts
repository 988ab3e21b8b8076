import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { VERSION } from '../../agent/version.ts'
import { type Installation, type InstallationOptions, rendered } from './installation.ts'
import { fitToNode, LANGFLOW } from './workload.ts'

/** deploy/production with a LangFlow that is none of ours, on PostgreSQL, installed as README says. */
export const QUICK_START: InstallationOptions = {
  base: 'production',
  workload: { ...LANGFLOW, prepare: () => [] },
  adopt: quickStart,
}

export interface Request {
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON, or as a form. */
  readonly body?: object | URLSearchParams
}

/** Asks LangFlow through the Service. Rejects with what it answers where that is no success. */
export async function ask<T>({ url }: Installation, path: string, request: Request = {}): Promise<T> {
  const { method = 'GET', headers = {}, body } = request
  const isForm = body instanceof URLSearchParams
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { ...(isForm ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 500)}`)
  return JSON.parse(text) as T
}

const ROOT = join(import.meta.dirname, '../..')
const DATABASE = 'langflow-postgresql'
/** The commands end by themselves once both pods are Ready, or after 15 min. */
const WITHIN_MS = 300_000

/** Runs what README tells a user to, in the installation's namespace, with a database for it. */
async function quickStart(one: Installation): Promise<void> {
  const all = await rendered('production', ['postgresql'])
  const trial = all.filter(({ metadata }) => metadata.name === DATABASE)
  fitToNode(trial)
  await one.apply(trial)
  const scratch = mkdtempSync(join(tmpdir(), 'quick-start-'))
  try {
    // What a user has: a context with a namespace.
    const kubeconfig = join(scratch, 'config')
    writeFileSync(kubeconfig, await one.kubectl('config', 'view', '--flatten', '--minify'))
    const context = ['config', 'set-context', '--current', `--namespace=${one.namespace}`]
    await one.kubectl(`--kubeconfig=${kubeconfig}`, ...context)
    await promisify(execFile)('sh', ['-e', '-c', commands()], {
      cwd: ROOT,
      env: { ...process.env, KUBECONFIG: kubeconfig, IMAGE: `langflow-leader:${VERSION}` },
      timeout: WITHIN_MS,
    })
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

/** The block that makes the Secret, with the database of the trial in the place of the user's. */
function commands(): string {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
  const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block as string)
  const found = blocks.filter((block) => block.includes('kubectl create secret'))
  assert.equal(found.length, 1, 'README has one block that makes the Secret')
  const theirs = 'user:password@host'
  assert.ok(found[0]?.includes(theirs))
  return (found[0] as string).replace(theirs, `langflow:trial-only@${DATABASE}`)
}
