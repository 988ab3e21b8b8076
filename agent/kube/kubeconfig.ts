import { readFileSync } from 'node:fs'
import type { RequestOptions } from 'node:https'
import { dirname, resolve } from 'node:path'
// The package's index would load its whole generated client: 50 MB that are not used here.
import { KubeConfig } from '@kubernetes/client-node/dist/config.js'
import { parse, YAMLParseError } from 'yaml'
import { reasonOf } from '../errno.ts'
import { fileSignature } from '../file-signature.ts'
import { REDACTED } from '../redaction.ts'
import { type KubeAccess, KubeConfigError, type KubeCredentials } from './kube-access.ts'

interface Loaded {
  readonly signature: string
  readonly kubeConfig: KubeConfig
  readonly server: URL
  readonly proxy: string | undefined
}

/**
 * The files are read again after a change, unless it cannot be read. The context that was current at the start stays in
 * use: an election must not move to another cluster because a person switched the context. Throws `KubeConfigError`.
 */
export function kubeconfigAccess(paths: readonly string[], context?: string): KubeAccess {
  const source = `kubeconfig ${paths.join(', ')}`
  let loaded = load(paths, source, context)
  let pending: Promise<KubeCredentials> | undefined

  const refresh = () => {
    if (signatureOf(paths) === loaded.signature) return
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
      loaded = { ...loaded, signature: 'refused' }
    },
  }
}

function signatureOf(paths: readonly string[]): string {
  return paths.map(fileSignature).join(',')
}

function load(paths: readonly string[], source: string, context: string | undefined): Loaded {
  const signature = signatureOf(paths)
  // As with kubectl, a missing file is ignored if another one exists.
  const existing = paths.length === 1 ? paths : paths.filter((path) => fileSignature(path) !== 'ENOENT')
  const files = existing.map(loadFile)
  const kubeConfig = new KubeConfig()
  // The first of two entries with one name counts, as with kubectl.
  kubeConfig.loadFromOptions({
    clusters: files.flatMap(({ clusters }) => clusters),
    contexts: files.flatMap(({ contexts }) => contexts),
    users: [...files.flatMap(({ users }) => users), { name: ANONYMOUS }],
    currentContext: context ?? files.map((file) => file.currentContext).find(Boolean),
  })
  const name = kubeConfig.getCurrentContext()
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
  const { server, proxyUrl: proxy } = found('cluster', chosen.cluster, kubeConfig.getClusters())
  found('user', chosen.user, kubeConfig.getUsers())

  const url = (field: string, text: string) => {
    const parsed = URL.parse(text)
    if (parsed !== null && /^https?:$/.test(parsed.protocol)) return parsed
    throw new KubeConfigError(`${source}: the ${field} of the context "${name}" must be an http or https URL`)
  }
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
  const authorization = bearer ?? shown?.trim()
  if (authorization) headers.authorization = authorization
  const { ca, cert, key, servername, rejectUnauthorized } = options
  return { server, headers, tls: { ca, cert, key, servername, rejectUnauthorized }, proxy }
}

/** The text is built anew: the causes' own texts can quote the output of a plugin, including tokens. */
function explain(cause: unknown, source: string, command: string | undefined): string {
  const { path, message } = cause as NodeJS.ErrnoException
  const isNoCredential = cause instanceof SyntaxError || cause instanceof TypeError
  const how = isNoCredential ? 'printed no ExecCredential' : `failed: ${firstLine(message)}`
  if (command !== undefined && (path === undefined || path === command))
    return `the credential plugin "${command}" of ${source} ${how}`
  if (path !== undefined) return `cannot read ${path}, which ${source} names: ${reasonOf(cause)}`
  return `${source} contains no usable credentials: ${firstLine(message)}`
}

/** The user of a context that names none. client-node reads the cluster's CA only for a user. */
const ANONYMOUS = 'anonymous'

/** The parts of a kubeconfig that client-node does not read in the same way as kubectl. */
interface KubeConfigFile {
  readonly contexts?: { context?: { user?: string } }[]
  readonly clusters?: { cluster?: { server?: string; 'insecure-skip-tls-verify'?: boolean } }[]
  readonly users?: { user?: { tokenFile?: string; 'auth-provider'?: object; exec?: Plugin } }[]
}

interface Plugin {
  readonly apiVersion?: string
  command: string
  env?: readonly { readonly name: string; readonly value: string }[]
}

function loadFile(path: string): KubeConfig {
  const file = parseFile(path)
  const directory = dirname(path)
  const kubeConfig = new KubeConfig()
  try {
    for (const { context } of file.contexts ?? []) if (context) context.user ??= ANONYMOUS
    // client-node refuses plain http unless verification, which http does not have, is switched off.
    for (const { cluster } of file.clusters ?? [])
      if (cluster?.server?.startsWith('http:')) cluster['insecure-skip-tls-verify'] = true
    for (const { user } of file.users ?? []) {
      const tokenFile = user?.tokenFile && resolve(directory, user.tokenFile)
      if (tokenFile) user['auth-provider'] = { name: 'tokenFile', config: { tokenFile } }
      if (user?.exec) adapt(user.exec, directory)
    }
    kubeConfig.loadFromString(JSON.stringify(file), { onInvalidEntry: 'filter' })
  } catch (cause) {
    throw new KubeConfigError(`kubeconfig ${path}: ${firstLine((cause as Error).message)}`)
  }
  kubeConfig.makePathsAbsolute(directory)
  return kubeConfig
}

/** Adds `KUBERNETES_EXEC_INFO`, as client-go does. Some plugins require it. */
function adapt(exec: Plugin, directory: string): void {
  const { apiVersion = 'client.authentication.k8s.io/v1', command, env } = exec
  const info = { apiVersion, kind: 'ExecCredential', spec: { interactive: false } }
  // A bare command name is looked up in $PATH. A path with a slash is relative to the kubeconfig.
  if (command.includes('/')) exec.command = resolve(directory, command)
  exec.env = [...(env ?? []), { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info) }]
}

function parseFile(path: string): KubeConfigFile {
  let root: unknown
  try {
    root = parse(readFileSync(path, 'utf8'), { merge: true, logLevel: 'error' })
  } catch (cause) {
    if (!(cause instanceof YAMLParseError))
      throw new KubeConfigError(`cannot read kubeconfig ${path}: ${reasonOf(cause)}`, { cause })
    // Its own message quotes the text around the fault, which may contain a token.
    throw new KubeConfigError(
      `kubeconfig ${path} is not valid YAML at line ${cause.linePos?.[0].line ?? '?'}`,
    )
  }
  if (typeof root === 'object' && root !== null && !Array.isArray(root)) return root
  throw new KubeConfigError(`kubeconfig ${path} is not a kubeconfig: it contains no YAML mapping`)
}

function firstLine(text: string): string {
  const line = text.split('\n').find((candidate) => candidate.trim() !== '') ?? 'it gave no reason'
  return line
    .trim()
    .replace(/[\w+=.-]{32,}/g, REDACTED)
    .slice(0, 300)
}
