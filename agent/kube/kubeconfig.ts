import { readFileSync } from 'node:fs'
import type { RequestOptions } from 'node:https'
import { dirname, resolve } from 'node:path'
// The package's index would load its whole generated client: 50 MB that are not used here.
import { KubeConfig } from '@kubernetes/client-node/dist/config.js'
import { parse, type YAMLParseError } from 'yaml'
import { reasonOf } from '../errno.ts'
import { fileSignature } from '../file-signature.ts'
import { REDACTED } from '../redaction.ts'
import { type KubeAccess, KubeConfigError, type KubeCredentials } from './kube-access.ts'

type Fields = Record<string, unknown>
type Section = 'contexts' | 'clusters' | 'users'

/** One context of a kubeconfig with its cluster and user, as written in YAML, with absolute paths. */
interface Context {
  readonly name: string
  readonly context: Fields
  readonly cluster: Fields
  readonly user: Fields
}

interface Loaded {
  readonly signature: string
  readonly context: Context
  readonly kubeConfig: KubeConfig
  readonly server: URL
  readonly proxy: string | undefined
}

/**
 * Access as described by one or more kubeconfig files: client certificates, tokens, token files, basic authentication,
 * credential plugins, OIDC. The files are read again after a change. If a change cannot be read, it is ignored. Without
 * a named context, the one that was current at the start stays in use: an election must not move to another cluster
 * because a person switched the context. Throws `KubeConfigError`.
 */
export function kubeconfigAccess(paths: readonly string[], context?: string): KubeAccess {
  const source = `kubeconfig ${paths.join(', ')}`
  let loaded = load(paths, source, context)
  let refused = false
  let pending: Promise<KubeCredentials> | undefined

  const refresh = () => {
    if (!refused && signatureOf(paths) === loaded.signature) return
    refused = false
    try {
      loaded = load(paths, source, loaded.context.name)
    } catch (error) {
      if (!(error instanceof KubeConfigError)) throw error
    }
  }
  const present = async () => {
    refresh()
    try {
      return await credentialsOf(loaded)
    } catch (cause) {
      throw new KubeConfigError(explain(cause, source, loaded.context.user))
    }
  }
  return {
    source,
    get server() {
      return loaded.server
    },
    get namespace() {
      return textIn(loaded.context.context, 'namespace')
    },
    credentials: () => {
      // The promise is shared, so that a hanging credential plugin is started once and not for every request.
      pending ??= present().finally(() => {
        pending = undefined
      })
      return pending
    },
    reload: () => {
      refused = true
    },
  }
}

/** @param wanted the context, or `undefined` for the current one */
function load(paths: readonly string[], source: string, wanted: string | undefined): Loaded {
  const signature = signatureOf(paths)
  const context = readContext(paths, wanted)
  const url = (field: string, text: string) => {
    const parsed = URL.parse(text)
    if (parsed !== null && /^https?:$/.test(parsed.protocol)) return parsed
    throw new KubeConfigError(
      `${source}: the ${field} of the context "${context.name}" must be an http or https URL`,
    )
  }
  const server = url('server', textIn(context.cluster, 'server') ?? '')
  const proxy = textIn(context.cluster, 'proxy-url')
  if (proxy !== undefined) url('proxy-url', proxy)
  const kubeConfig = new KubeConfig()
  try {
    kubeConfig.loadFromString(JSON.stringify(asKubeconfig(context, server)))
  } catch (cause) {
    throw new KubeConfigError(`${source}: ${firstLine((cause as Error).message)}`)
  }
  return { signature, context, server, proxy, kubeConfig }
}

async function credentialsOf({ kubeConfig, context, server, proxy }: Loaded): Promise<KubeCredentials> {
  const options: RequestOptions = {}
  await kubeConfig.applyToHTTPSOptions(options)
  const { Authorization: shown, ...headers } = { ...(options.headers as Record<string, string>) }
  // client-node does not support `tokenFile`. As in kubectl, it precedes every other credential.
  const tokenFile = textIn(context.user, 'tokenFile')
  const bearer = tokenFile && `Bearer ${readFileSync(tokenFile, 'utf8').trim()}`
  const basic = options.auth && `Basic ${Buffer.from(options.auth).toString('base64')}`
  const authorization = bearer ?? shown?.trim() ?? basic
  if (authorization) headers.authorization = authorization
  const { ca, cert, key, pfx, passphrase, servername, rejectUnauthorized } = options
  const given = Object.entries({ ca, cert, key, pfx, passphrase, servername, rejectUnauthorized })
  const tls = Object.fromEntries(given.filter(([, value]) => value !== undefined))
  return { server, headers, tls, proxy }
}

/** The text is built anew: the causes' own texts can quote the output of a plugin, including tokens. */
function explain(cause: unknown, source: string, user: Fields): string {
  const { code, path, message } = cause as NodeJS.ErrnoException
  const { command } = (user.exec ?? {}) as { command?: string }
  if (command !== undefined && (path === undefined || path === command)) {
    const plugin = `the credential plugin "${command}" of ${source}`
    if (code === 'ENOENT') return `${plugin} is not installed: put it on the PATH`
    if (cause instanceof SyntaxError || cause instanceof TypeError)
      return `${plugin} printed no ExecCredential`
    return `${plugin} failed: ${firstLine(message)}`
  }
  if (path !== undefined) return `cannot read ${path}, which ${source} names: ${reasonOf(cause)}`
  return `${source} contains no usable credentials: ${firstLine(message)}`
}

/** The one context as a kubeconfig for client-node. */
function asKubeconfig({ name, cluster, user }: Context, server: URL): object {
  const { tokenFile: _, ...rest } = user
  return {
    'current-context': name,
    contexts: [{ name, context: { cluster: name, user: name } }],
    // client-node refuses plain http unless verification, which http does not have, is switched off.
    clusters: [
      {
        name,
        cluster: { ...cluster, ...(server.protocol === 'http:' && { 'insecure-skip-tls-verify': true }) },
      },
    ],
    users: [
      { name, user: { ...rest, ...(isFields(rest.exec) && { exec: withExecInfo(rest.exec, cluster) }) } },
    ],
  }
}

/** Adds `KUBERNETES_EXEC_INFO`, as client-go does. Some plugins require it. */
function withExecInfo(exec: Fields, cluster: Fields): Fields {
  const info = {
    apiVersion: exec.apiVersion ?? 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    spec: { interactive: false, ...(exec.provideClusterInfo === true && { cluster }) },
  }
  const env = Array.isArray(exec.env) ? exec.env : []
  return { ...exec, env: [...env, { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info) }] }
}

/**
 * Reads a context from one or more kubeconfig files, merged as in kubectl: of two entries with one name the first
 * counts, and a missing file is ignored if another one exists.
 */
function readContext(paths: readonly string[], wanted: string | undefined): Context {
  const label = paths.join(', ')
  const existing = paths.length === 1 ? paths : paths.filter((path) => fileSignature(path) !== 'ENOENT')
  if (existing.length === 0) throw new KubeConfigError(`none of the kubeconfig files ${label} exists`)
  const files = existing.map((path) => ({ path, root: parseFile(path) }))

  const name = wanted ?? files.map(({ root }) => textIn(root, 'current-context')).find(Boolean)
  if (name === undefined) {
    throw new KubeConfigError(
      `kubeconfig ${label} has no current-context: choose one with 'kubectl config use-context NAME'`,
    )
  }
  const pick = (section: Section, wantedName: string, wantedBy: string): Fields => {
    const kind = section.slice(0, -1)
    const entries = files.flatMap(({ path, root }) =>
      entriesIn(path, root, section).map((entry) => ({ directory: dirname(path), entry })),
    )
    const found = entries.find(({ entry }) => entry.name === wantedName)
    if (found !== undefined) {
      const fields = found.entry[kind]
      return isFields(fields) ? absolute(fields, found.directory) : {}
    }
    const others = entries.map(({ entry }) => entry.name)
    throw new KubeConfigError(
      `kubeconfig ${label} has no ${kind} "${wantedName}", which ${wantedBy} names` +
        ` (it has ${others.length === 0 ? 'none' : others.join(', ')})`,
    )
  }
  const context = pick('contexts', name, wanted === undefined ? 'current-context' : '--context')
  const by = `the context "${name}"`
  return {
    name,
    context,
    cluster: pick('clusters', String(context.cluster ?? ''), by),
    user: context.user ? pick('users', String(context.user), by) : {},
  }
}

function parseFile(path: string): Fields {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new KubeConfigError(`cannot read kubeconfig ${path}: ${reasonOf(cause)}`, { cause })
  }
  let root: unknown
  try {
    root = parse(text, { merge: true, logLevel: 'error' })
  } catch (cause) {
    // Its own message quotes the text around the fault, which may contain a token.
    const { linePos, message } = cause as YAMLParseError
    const [reason = ''] = message.split(/ at line \d|: /)
    const line = linePos === undefined ? '' : ` at line ${linePos[0].line}`
    throw new KubeConfigError(`kubeconfig ${path} is not valid YAML${line}: ${firstLine(reason)}`)
  }
  if (isFields(root)) return root
  throw new KubeConfigError(`kubeconfig ${path} is not a kubeconfig: it contains no YAML mapping`)
}

function entriesIn(path: string, root: Fields, section: Section): (Fields & { name: string })[] {
  const list = root[section] ?? []
  if (!Array.isArray(list)) throw new KubeConfigError(`kubeconfig ${path}: "${section}" must be a list`)
  return list.filter((entry) => isFields(entry) && typeof entry.name === 'string')
}

const PATH_FIELDS = ['certificate-authority', 'client-certificate', 'client-key', 'tokenFile']

/** Relative paths start from the directory of their kubeconfig. */
function absolute(fields: Fields, directory: string): Fields {
  const paths = PATH_FIELDS.flatMap((field) => {
    const path = textIn(fields, field)
    return path === undefined ? [] : [[field, resolve(directory, path)]]
  })
  const { exec } = fields
  // A bare command name is looked up in $PATH. A path with a slash is relative to the kubeconfig.
  const command = isFields(exec) ? textIn(exec, 'command') : undefined
  const own = command?.includes('/') && {
    exec: { ...(exec as Fields), command: resolve(directory, command) },
  }
  return { ...fields, ...Object.fromEntries(paths), ...own }
}

function signatureOf(paths: readonly string[]): string {
  return paths.map(fileSignature).join(',')
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function textIn(fields: Fields, name: string): string | undefined {
  const value = fields[name]
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** The first non-empty line, without anything that could be a token. */
function firstLine(text: string): string {
  const line = text.split('\n').find((candidate) => candidate.trim() !== '') ?? 'it gave no reason'
  return line
    .trim()
    .replace(/[\w+=.-]{32,}/g, REDACTED)
    .slice(0, 300)
}
