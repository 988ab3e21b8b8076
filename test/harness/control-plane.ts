import { execFile, execFileSync } from 'node:child_process'
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Agent, request } from 'undici'
import { freePort } from './free-port.ts'
import { Guard, ServerProcess } from './server-process.ts'

export interface ControlPlaneOptions {
  audit?: boolean
  /** Admit pods as a cluster does (default no): each pod needs its ServiceAccount, and gets its token. */
  podAdmission?: boolean
}

const execute = promisify(execFile)
const ISSUER = 'https://kubernetes.default.svc'
const LEEWAY_SECONDS = 60

/** A real etcd and kube-apiserver on loopback, with RBAC and bound tokens. They end with the test, even if it is killed. */
export class ControlPlane {
  readonly serverUrl: string
  readonly adminKubeconfig: string
  readonly adminToken = randomBytes(16).toString('hex')
  readonly #assets = controlPlaneAssets()
  readonly #dir = mkdtempSync(join(tmpdir(), 'control-plane-'))
  readonly #guard = new Guard(this.#dir)
  readonly #options: ControlPlaneOptions
  readonly #port: number
  readonly #etcdPort: number
  readonly #etcdPeerPort: number
  #etcd: ServerProcess | undefined
  #api: ServerProcess | undefined
  #files = 0

  constructor(options: ControlPlaneOptions, ports: readonly [number, number, number]) {
    this.#options = options
    ;[this.#port, this.#etcdPort, this.#etcdPeerPort] = ports
    this.serverUrl = `https://127.0.0.1:${this.#port}`
    const keys = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    })
    this.#write('sa.key', keys.privateKey)
    this.#write('sa.pub', keys.publicKey)
    this.#write('tokens.csv', `${this.adminToken},admin,1,"system:masters"\n`)
    this.#write('audit-policy.json', JSON.stringify(AUDIT_POLICY))
    this.adminKubeconfig = this.#kubeconfig('default', 'admin', this.adminToken)
  }

  get caFile(): string {
    return this.#path('certs/apiserver.crt')
  }

  /**
   * Starts kube-apiserver with the same etcd and port, and resolves once it is ready. Its watch history starts anew.
   * `newCertificate`: uses another certificate authority, in the same `caFile`.
   */
  async startApiServer(options: { newCertificate?: boolean } = {}): Promise<void> {
    if (options.newCertificate) rmSync(this.#path('certs'), { recursive: true })
    this.#api = this.#spawn('kube-apiserver', this.#apiArgs())
    this.#watch()
    await this.#api.ready('kube-apiserver', () => this.#ready())
  }

  async startEtcd(): Promise<void> {
    const client = `http://127.0.0.1:${this.#etcdPort}`
    const peer = `http://127.0.0.1:${this.#etcdPeerPort}`
    this.#etcd = this.#spawn('etcd', [
      `--data-dir=${this.#path('etcd')}`,
      '--unsafe-no-fsync',
      '--log-level=error',
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
    ])
    this.#watch()
    await this.#etcd.ready(
      'etcd',
      async () => (await this.#askEtcd('kv/range', { key: 'AA==' })) !== undefined,
    )
  }

  async stopEtcd(): Promise<void> {
    await this.#etcd?.stop('SIGKILL')
    this.#watch()
  }

  /** Discards every earlier version. A watch that continues from one of them is answered with 410. */
  async compact(): Promise<void> {
    const { header } = await this.#askEtcd('kv/range', { key: 'AA==' })
    await this.#askEtcd('kv/compaction', { revision: header.revision, physical: true })
  }

  async #askEtcd(path: string, body: object): Promise<{ header: { revision: string } }> {
    const url = `http://127.0.0.1:${this.#etcdPort}/v3/${path}`
    const answer = await request(url, { method: 'POST', body: JSON.stringify(body), headersTimeout: 5_000 })
    if (answer.statusCode !== 200) throw new Error(`etcd: ${path}: ${await answer.body.text()}`)
    return (await answer.body.json()) as { header: { revision: string } }
  }

  /** Ends kube-apiserver, so that connections are refused. SIGKILL cuts the open ones without a proper end. */
  async stopApiServer(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await this.#api?.stop(signal)
    this.#watch()
  }

  /** Freezes kube-apiserver. The kernel still accepts connections, but they get no answer. */
  pause(): void {
    this.#api?.signal('SIGSTOP')
  }

  resume(): void {
    this.#api?.signal('SIGCONT')
  }

  async kubectl(args: readonly string[], stdin = ''): Promise<{ stdout: string; stderr: string }> {
    const own = [`--kubeconfig=${this.adminKubeconfig}`, `--cache-dir=${this.#path('kubectl-cache')}`]
    const run = execute(join(this.#assets, 'kubectl'), [...own, ...args], { maxBuffer: 2 ** 26 })
    run.child.stdin!.on('error', () => {}).end(stdin)
    try {
      return await run
    } catch (error) {
      const { stderr, message } = error as Error & { stderr: string }
      throw new Error(`kubectl ${args.join(' ')}: ${stderr.trim() || message}`)
    }
  }

  async newNamespace(): Promise<string> {
    const name = `test-${randomBytes(4).toString('hex')}`
    await this.kubectl(['create', 'namespace', name])
    return name
  }

  /** A bound token of an existing ServiceAccount, from TokenRequest. `duration` must be at least 10m, the default. */
  async serviceAccountToken(namespace: string, account: string, duration = '10m'): Promise<string> {
    const args = ['create', 'token', account, `--namespace=${namespace}`, `--duration=${duration}`]
    return (await this.kubectl(args)).stdout.trim()
  }

  /**
   * A token of an existing ServiceAccount that the API server accepts for `seconds` from now. TokenRequest gives no token
   * shorter than 10 minutes, so this method signs its own. Its `exp` allows for the minute of leeway that the API server grants.
   */
  async expiringToken(namespace: string, account: string, seconds: number): Promise<string> {
    const object = ['get', 'serviceaccount', account, `--namespace=${namespace}`]
    const uid = (await this.kubectl([...object, '--output=jsonpath={.metadata.uid}'])).stdout
    const now = Math.floor(Date.now() / 1000)
    const claims = {
      iss: ISSUER,
      aud: [ISSUER],
      sub: `system:serviceaccount:${namespace}:${account}`,
      iat: now - 600,
      nbf: now - 600,
      exp: now + seconds - LEEWAY_SECONDS,
      'kubernetes.io': { namespace, serviceaccount: { name: account, uid } },
    }
    const text = [{ alg: 'RS256', typ: 'JWT' }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
    const signature = sign('sha256', Buffer.from(text), readFileSync(this.#path('sa.key'), 'utf8'))
    return `${text}.${signature.toString('base64url')}`
  }

  async serviceAccountKubeconfig(namespace: string, account: string, duration = '1h'): Promise<string> {
    const token = await this.serviceAccountToken(namespace, account, duration)
    return this.#kubeconfig(namespace, account, token)
  }

  namespaceKubeconfig(namespace: string): string {
    return this.#kubeconfig(namespace, 'admin', this.adminToken)
  }

  /** Applies the Lease and the rights of deploy/langflow.yaml, and returns a kubeconfig with a bound token of its ServiceAccount. */
  async deployRights(namespace: string, duration?: string): Promise<string> {
    const objects = readFileSync(SMALLEST, 'utf8').split(/^---$/m)
    const rights = objects.filter((text) => /^kind: (ServiceAccount|Role|RoleBinding|Lease)$/m.test(text))
    await this.kubectl(['apply', `--namespace=${namespace}`, '-f', '-'], rights.join('---'))
    return this.serviceAccountKubeconfig(namespace, ACCOUNT, duration)
  }

  requests({ userAgent = '', ...exact }: AuditFilter = {}): AuditRecord[] {
    if (!this.#options.audit)
      throw new Error('start the control plane with { audit: true } to count requests')
    const expected = Object.entries(exact) as [keyof typeof exact, string][]
    // A line without a newline is still being written.
    const lines = readFileSync(this.#path('audit.log'), 'utf8').split('\n').slice(0, -1)
    return lines
      .map((line) => JSON.parse(line) as AuditEvent)
      .filter(({ stage, verb }) => stage === (verb === 'watch' ? 'ResponseStarted' : 'ResponseComplete'))
      .map((event) => ({
        at: event.requestReceivedTimestamp,
        verb: event.verb,
        user: event.user?.username ?? '',
        userAgent: event.userAgent ?? '',
        namespace: event.objectRef?.namespace ?? '',
        code: event.responseStatus?.code ?? 0,
      }))
      .filter(
        (one) => one.userAgent.includes(userAgent) && expected.every(([key, value]) => one[key] === value),
      )
  }

  async close(): Promise<void> {
    for (const one of [this.#api, this.#etcd]) await one?.stop()
    this.#watch()
    await this.#guard.close()
  }

  #apiArgs(): string[] {
    const audit = [
      `--audit-policy-file=${this.#path('audit-policy.json')}`,
      `--audit-log-path=${this.#path('audit.log')}`,
    ]
    return [
      `--etcd-servers=http://127.0.0.1:${this.#etcdPort}`,
      `--cert-dir=${this.#path('certs')}`,
      `--secure-port=${this.#port}`,
      '--bind-address=127.0.0.1',
      '--service-cluster-ip-range=10.0.0.0/24',
      `--service-account-issuer=${ISSUER}`,
      `--service-account-key-file=${this.#path('sa.pub')}`,
      `--service-account-signing-key-file=${this.#path('sa.key')}`,
      `--token-auth-file=${this.#path('tokens.csv')}`,
      '--authorization-mode=RBAC',
      ...(this.#options.podAdmission ? [] : ['--disable-admission-plugins=ServiceAccount']),
      ...(this.#options.audit ? audit : []),
    ]
  }

  async #ready(): Promise<boolean> {
    if (!existsSync(this.caFile)) return false
    const dispatcher = new Agent({ connect: { ca: readFileSync(this.caFile) } })
    try {
      const headers = { authorization: `Bearer ${this.adminToken}` }
      const answer = await request(`${this.serverUrl}/readyz`, { dispatcher, headers })
      return (await answer.body.text()) === 'ok'
    } finally {
      await dispatcher.destroy()
    }
  }

  #spawn(name: string, args: readonly string[]): ServerProcess {
    return new ServerProcess(join(this.#assets, name), args, this.#path(`${name}.log`))
  }

  #watch(): void {
    this.#guard.watch([this.#etcd, this.#api].filter((one) => one !== undefined))
  }

  #kubeconfig(namespace: string, user: string, token: string): string {
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'e2e', cluster: { server: this.serverUrl, 'certificate-authority': this.caFile } }],
      users: [{ name: user, user: { token } }],
      contexts: [{ name: 'e2e', context: { cluster: 'e2e', user, namespace } }],
      'current-context': 'e2e',
    }
    this.#files += 1
    return this.#write(`kubeconfigs/${user}-${this.#files}.json`, JSON.stringify(config))
  }

  #write(name: string, text: string): string {
    const path = this.#path(name)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }

  #path(name: string): string {
    return join(this.#dir, name)
  }
}

export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  controlPlaneAssets()
  const plane = new ControlPlane(options, [await freePort(), await freePort(), await freePort()])
  try {
    await plane.startEtcd()
    await plane.startApiServer()
  } catch (error) {
    await plane.close()
    throw error
  }
  return plane
}

const UNPACK = join(import.meta.dirname, '../../../shared/kubebuilder-assets/unpack')

const HOW_TO =
  'e2e tests need etcd, kube-apiserver and kubectl: set KUBEBUILDER_ASSETS to the directory that has them, e.g. ' +
  'export KUBEBUILDER_ASSETS="$(go run sigs.k8s.io/controller-runtime/tools/setup-envtest@latest use -p path)"'

export function controlPlaneAssets(): string {
  const dir =
    process.env.KUBEBUILDER_ASSETS ||
    (existsSync(UNPACK) && execFileSync(UNPACK, { encoding: 'utf8' }).trim())
  if (!dir) throw new Error(HOW_TO)
  const missing = ['etcd', 'kube-apiserver', 'kubectl'].filter((name) => !existsSync(join(dir, name)))
  if (missing.length > 0) throw new Error(`${dir} has no ${missing.join(', ')}. ${HOW_TO}`)
  return dir
}

const SMALLEST = join(import.meta.dirname, '../../deploy/langflow.yaml')
export const ACCOUNT = 'langflow-leader'

interface AuditRecord {
  readonly at: string
  readonly verb: string
  readonly user: string
  readonly userAgent: string
  readonly namespace: string
  readonly code: number
}

type AuditFilter = Partial<Pick<AuditRecord, 'verb' | 'user' | 'namespace' | 'userAgent'>>

const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  omitManagedFields: true,
  rules: [{ level: 'Metadata' }],
}

interface AuditEvent {
  stage: string
  verb: string
  requestReceivedTimestamp: string
  user?: { username?: string }
  userAgent?: string
  objectRef?: { namespace?: string }
  responseStatus?: { code?: number }
}
