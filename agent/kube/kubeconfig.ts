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

interface Loaded {
  readonly signature: string
  /** Its current context is the one in use. */
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
      loaded = load(paths, source, loaded.kubeConfig.getCurrentContext())
    } catch (error) {
      if (!(error instanceof KubeConfigError)) throw error
    }
  }
  const present = async () => {
    refresh()
    try {
      return await credentialsOf(loaded)
    } catch (cause) {
      throw new KubeConfigError(explain(cause, source, loaded.kubeConfig.getCurrentUser()?.exec?.command))
    }
  }
  return {
    source,
    get server() {
      return loaded.server
    },
    get namespace() {
      return loaded.kubeConfig.getContextObject(loaded.kubeConfig.getCurrentContext())?.namespace
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

function signatureOf(paths: readonly string[]): string {
  return paths.map(fileSignature).join(',')
}

/** Without `context`, the current one. */
function load(paths: readonly string[], source: string, context: string | undefined): Loaded {
  const signature = signatureOf(paths)
  const kubeConfig = new KubeConfig()
  try {
    kubeConfig.loadFromString(JSON.stringify(merged(paths)), { onInvalidEntry: 'filter' })
  } catch (cause) {
    if (cause instanceof KubeConfigError) throw cause
    throw new KubeConfigError(`${source}: ${firstLine((cause as Error).message)}`)
  }
  const name = context ?? kubeConfig.getCurrentContext()
  if (!name)
    throw new KubeConfigError(
      `${source} has no current-context: choose one with 'kubectl config use-context NAME'`,
    )
  const found = <T extends { name: string }>(kind: string, name: string, all: readonly T[]): T => {
    const one = all.find((entry) => entry.name === name)
    const names = all.map((entry) => entry.name).join(', ') || 'none'
    if (one === undefined) throw new KubeConfigError(`${source} has no ${kind} "${name}" (it has ${names})`)
    return one
  }
  const chosen = found('context', name, kubeConfig.getContexts())
  const cluster = found('cluster', chosen.cluster, kubeConfig.getClusters())
  found('user', chosen.user, kubeConfig.getUsers())
  kubeConfig.setCurrentContext(name)

  const url = (field: string, text: string) => {
    const parsed = URL.parse(text)
    if (parsed !== null && /^https?:$/.test(parsed.protocol)) return parsed
    throw new KubeConfigError(`${source}: the ${field} of the context "${name}" must be an http or https URL`)
  }
  const { server, proxyUrl: proxy } = cluster
  if (proxy) url('proxy-url', proxy)
  return { signature, kubeConfig, server: url('server', server), proxy: proxy || undefined }
}

async function credentialsOf({ kubeConfig, server, proxy }: Loaded): Promise<KubeCredentials> {
  const options: RequestOptions = {}
  await kubeConfig.applyToHTTPSOptions(options)
  const { Authorization: shown, ...headers } = { ...(options.headers as Record<string, string>) }
  // client-node reads a token file once a minute. As in kubectl, it precedes every other credential.
  const tokenFile: string | undefined = kubeConfig.getCurrentUser()?.authProvider?.config?.tokenFile
  const bearer = tokenFile && `Bearer ${readFileSync(tokenFile, 'utf8').trim()}`
  const basic = options.auth && `Basic ${Buffer.from(options.auth).toString('base64')}`
  const authorization = bearer ?? shown?.trim() ?? basic
  if (authorization) headers.authorization = authorization
  const { ca, cert, key, servername, rejectUnauthorized } = options
  const given = Object.entries({ ca, cert, key, servername, rejectUnauthorized })
  const tls = Object.fromEntries(given.filter(([, value]) => value !== undefined))
  return { server, headers, tls, proxy }
}

/** The text is built anew: the causes' own texts can quote the output of a plugin, including tokens. */
function explain(cause: unknown, source: string, command: string | undefined): string {
  const { code, path, message } = cause as NodeJS.ErrnoException
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

type Mapping = Readonly<Record<string, unknown>>

/** The user of a context that names none. */
const ANONYMOUS = 'anonymous'

/**
 * The files as one kubeconfig for client-node, which takes the first of two entries with one name, as kubectl does.
 * A missing file is ignored if another one exists.
 */
function merged(paths: readonly string[]): Mapping {
  const existing = paths.length === 1 ? paths : paths.filter((path) => fileSignature(path) !== 'ENOENT')
  if (existing.length === 0)
    throw new KubeConfigError(`none of the kubeconfig files ${paths.join(', ')} exists`)
  const files = existing.map((path) => ({ root: parseFile(path), directory: dirname(path) }))
  const all = (section: string, kind: string, change: (fields: Mapping, directory: string) => Mapping) =>
    files.flatMap(({ root, directory }) =>
      mappingsIn(root[section]).map(({ name, [kind]: fields }) => ({
        name,
        [kind]: change(isMapping(fields) ? fields : {}, directory),
      })),
    )
  return {
    'current-context': files.map(({ root }) => root['current-context']).find(Boolean),
    contexts: all('contexts', 'context', (context) => ({ user: ANONYMOUS, ...context })),
    clusters: all('clusters', 'cluster', (cluster, directory) => ({
      ...absolute(cluster, directory, 'certificate-authority'),
      // client-node refuses plain http unless verification, which http does not have, is switched off.
      ...(String(cluster.server).startsWith('http:') && { 'insecure-skip-tls-verify': true }),
    })),
    users: [...all('users', 'user', userFor), { name: ANONYMOUS, user: {} }],
  }
}

function userFor(user: Mapping, directory: string): Mapping {
  const { tokenFile, exec, ...rest } = absolute(
    user,
    directory,
    'client-certificate',
    'client-key',
    'tokenFile',
  )
  return {
    ...rest,
    ...(tokenFile ? { 'auth-provider': { name: 'tokenFile', config: { tokenFile } } } : {}),
    ...(isMapping(exec) && { exec: pluginFor(exec, directory) }),
  }
}

/** Adds `KUBERNETES_EXEC_INFO`, as client-go does. Some plugins require it. */
function pluginFor(exec: Mapping, directory: string): Mapping {
  const { apiVersion = 'client.authentication.k8s.io/v1', command } = exec
  const info = { apiVersion, kind: 'ExecCredential', spec: { interactive: false } }
  return {
    // A bare command name is looked up in $PATH. A path with a slash is relative to the kubeconfig.
    ...(String(command).includes('/') ? absolute(exec, directory, 'command') : exec),
    env: [...mappingsIn(exec.env), { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info) }],
  }
}

/** Relative paths start from the directory of their kubeconfig. */
function absolute(fields: Mapping, directory: string, ...names: readonly string[]): Mapping {
  const paths = names.flatMap((name) => {
    const path = fields[name]
    return typeof path === 'string' && path !== '' ? [[name, resolve(directory, path)]] : []
  })
  return { ...fields, ...Object.fromEntries(paths) }
}

function parseFile(path: string): Mapping {
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
    const [at] = (cause as YAMLParseError).linePos ?? []
    throw new KubeConfigError(`kubeconfig ${path} is not valid YAML at line ${at?.line ?? '?'}`)
  }
  if (isMapping(root)) return root
  throw new KubeConfigError(`kubeconfig ${path} is not a kubeconfig: it contains no YAML mapping`)
}

function mappingsIn(list: unknown): Mapping[] {
  return Array.isArray(list) ? list.filter(isMapping) : []
}

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The first non-empty line, without anything that could be a token. */
function firstLine(text: string): string {
  const line = text.split('\n').find((candidate) => candidate.trim() !== '') ?? 'it gave no reason'
  return line
    .trim()
    .replace(/[\w+=.-]{32,}/g, REDACTED)
    .slice(0, 300)
}
