import { readFileSync } from 'node:fs'
import type { RequestOptions } from 'node:https'
// The package's index would load its whole generated client: 50 MB that nothing here uses.
import { KubeConfig } from '@kubernetes/client-node/dist/config.js'
import { type KubeAccess, KubeConfigError, type KubeCredentials } from './access.ts'
import { fileSignature, type KubeconfigContext, readKubeconfig } from './kubeconfig-file.ts'

interface Loaded {
  readonly signature: string
  readonly context: KubeconfigContext
  readonly kubeConfig: KubeConfig
  readonly server: URL
  readonly proxy: string | undefined
}

/**
 * Access as one or more kubeconfig files describe it: client certificates, tokens, token files, basic authentication,
 * credential plugins, OIDC. The files are read again when they change; a change that cannot be read is passed over.
 * The context is the one that was current at the start: an election must not move to another cluster because
 * somebody switched the context.
 */
export class KubeconfigAccess implements KubeAccess {
  readonly source: string
  private readonly paths: readonly string[]
  private loaded: Loaded
  private refused = false
  private pending: Promise<KubeCredentials> | undefined

  /** Throws `KubeConfigError`. */
  constructor(paths: readonly string[]) {
    this.paths = paths
    this.source = `kubeconfig ${paths.join(', ')}`
    this.loaded = load(paths, undefined)
  }

  get server(): URL {
    return this.loaded.server
  }

  get namespace(): string | undefined {
    const namespace = this.loaded.context.context.namespace
    return typeof namespace === 'string' && namespace !== '' ? namespace : undefined
  }

  credentials(): Promise<KubeCredentials> {
    // Shared, so that a credential plugin that hangs is started once and not for every request.
    this.pending ??= this.present().finally(() => {
      this.pending = undefined
    })
    return this.pending
  }

  reload(): void {
    this.refused = true
  }

  private async present(): Promise<KubeCredentials> {
    this.refresh()
    const { kubeConfig, context, server, proxy } = this.loaded
    const options: RequestOptions = {}
    try {
      await kubeConfig.applyToHTTPSOptions(options)
      const headers = { ...(options.headers as Record<string, string>) }
      const authorization = tokenOf(context) ?? headers.Authorization?.trim() ?? basic(options.auth)
      delete headers.Authorization
      if (authorization !== undefined) headers.authorization = authorization
      const { ca, cert, key, pfx, passphrase, servername, rejectUnauthorized } = options
      const given = Object.entries({ ca, cert, key, pfx, passphrase, servername, rejectUnauthorized })
      const tls = Object.fromEntries(given.filter(([, value]) => value !== undefined))
      return { server, headers, tls, proxy }
    } catch (cause) {
      throw new KubeConfigError(this.explain(cause))
    }
  }

  private refresh(): void {
    if (!this.refused && fileSignature(this.paths) === this.loaded.signature) return
    this.refused = false
    try {
      this.loaded = load(this.paths, this.loaded.context.name)
    } catch (error) {
      if (!(error instanceof KubeConfigError)) throw error
    }
  }

  /** Built anew rather than passed on: the causes' own texts can quote what a plugin printed, tokens included. */
  private explain(cause: unknown): string {
    const { code, path, message } = cause as NodeJS.ErrnoException
    const { command } = (this.loaded.context.user.exec ?? {}) as { command?: string }
    if (command !== undefined && (path === undefined || path === command)) {
      const plugin = `the credential plugin "${command}" of ${this.source}`
      if (code === 'ENOENT') return `${plugin} is not installed: put it on the PATH`
      if (cause instanceof SyntaxError || cause instanceof TypeError)
        return `${plugin} printed no ExecCredential`
      return `${plugin} failed: ${firstLine(message)}`
    }
    if (path !== undefined) return `cannot read ${path}, which ${this.source} names (${code})`
    return `${this.source} gives no usable credentials: ${firstLine(message)}`
  }
}

function load(paths: readonly string[], wanted: string | undefined): Loaded {
  const signature = fileSignature(paths)
  const context = readKubeconfig(paths, wanted)
  const source = `kubeconfig ${paths.join(', ')}`
  const { server: address, 'proxy-url': proxyUrl } = context.cluster
  const server = typeof address === 'string' ? URL.parse(address) : null
  if (server === null || !/^https?:$/.test(server.protocol)) {
    throw new KubeConfigError(
      `${source}: the server of the context "${context.name}" must be an http or https URL`,
    )
  }
  const proxy = typeof proxyUrl === 'string' && proxyUrl !== '' ? proxyUrl : undefined
  if (proxy !== undefined && !/^https?:$/.test(URL.parse(proxy)?.protocol ?? '')) {
    throw new KubeConfigError(
      `${source}: the proxy-url of the context "${context.name}" must be an http or https URL`,
    )
  }
  return { signature, context, server, proxy, kubeConfig: kubeConfigOf(context, source, server) }
}

function kubeConfigOf({ name, cluster, user }: KubeconfigContext, source: string, server: URL): KubeConfig {
  const { tokenFile: _, ...rest } = user
  const kubeConfig = new KubeConfig()
  try {
    kubeConfig.loadFromString(
      JSON.stringify({
        'current-context': name,
        contexts: [{ name, context: { cluster: name, user: name } }],
        // client-node refuses plain http unless verification, which http does not have, is switched off.
        clusters: [
          {
            name,
            cluster: server.protocol === 'http:' ? { ...cluster, 'insecure-skip-tls-verify': true } : cluster,
          },
        ],
        users: [
          { name, user: { ...rest, ...(rest.exec ? { exec: withExecInfo(rest.exec, cluster) } : {}) } },
        ],
      }),
    )
  } catch (cause) {
    throw new KubeConfigError(`${source}: ${firstLine((cause as Error).message)}`)
  }
  return kubeConfig
}

/** Adds what client-go tells a plugin in `KUBERNETES_EXEC_INFO`; some refuse to work without it. */
function withExecInfo(exec: object, cluster: Record<string, unknown>): object {
  const { apiVersion, env, provideClusterInfo } = exec as Record<string, unknown>
  const info = {
    apiVersion: apiVersion ?? 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    spec: { interactive: false, ...(provideClusterInfo === true ? { cluster } : {}) },
  }
  return {
    ...exec,
    env: [...(Array.isArray(env) ? env : []), { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info) }],
  }
}

/** `tokenFile` is not known to client-node; as in kubectl it comes before every other credential. */
function tokenOf({ user }: KubeconfigContext): string | undefined {
  return typeof user.tokenFile === 'string'
    ? `Bearer ${readFileSync(user.tokenFile, 'utf8').trim()}`
    : undefined
}

function basic(auth: string | null | undefined): string | undefined {
  return auth ? `Basic ${Buffer.from(auth).toString('base64')}` : undefined
}

/** The first line that says something, without anything that could be a token. */
function firstLine(text: string): string {
  const line = text.split('\n').find((candidate) => candidate.trim() !== '') ?? 'it gave no reason'
  return line
    .trim()
    .replace(/[\w+=.-]{32,}/g, '…')
    .slice(0, 300)
}
