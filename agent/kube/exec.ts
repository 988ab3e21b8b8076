import { Agent, ProxyAgent, WebSocket } from 'undici'
import type { KubeCredentials } from './access.ts'
import { ApiError, type Target } from './errors.ts'
import type { Executed } from './objects.ts'
import type { Call, KubeRequestsOptions } from './requests.ts'

/** Of Kubernetes' exec over a WebSocket: the first byte of each message says whose it is. */
const PROTOCOL = 'v4.channel.k8s.io'
const STDOUT = 1
const STDERR = 2
/** A `Status`: how the command ended. */
const ENDED = 3
/** What a command says beyond this is left out. In bytes. */
const MOST_OUTPUT = 64 * 1024

/** Runs what the path of `call` says. Rejects with `ApiError` where it cannot be started, or does not end within `deadlineMs`. */
export async function executeAt(
  { access, userAgent }: KubeRequestsOptions,
  { path }: Call,
  target: Target,
  deadlineMs: number,
): Promise<Executed> {
  const { server, headers, tls, proxy } = await access.credentials()
  const dispatcher = dispatcherFor({ tls, proxy })
  const url = `${server.origin.replace(/^http/, 'ws')}${server.pathname.replace(/\/$/, '')}${path}`
  const socket = new WebSocket(url, {
    dispatcher,
    protocols: PROTOCOL,
    headers: { ...headers, 'user-agent': userAgent },
  })
  socket.binaryType = 'arraybuffer'
  const output = { [STDOUT]: '', [STDERR]: '' }
  let exitCode: number | null = null
  let opened = false
  const failed = (why: string) =>
    // Once it is open the command may run, whatever is told of it.
    new ApiError('network', `cannot run a command in the pod "${target.name}": ${why}`, {
      mayHaveCommitted: opened,
    })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const timer = setTimeout(() => reject(failed(`it did not end within ${deadlineMs} ms`)), deadlineMs)
  socket.addEventListener('open', () => {
    opened = true
  })
  socket.addEventListener('message', ({ data }) => {
    const bytes = Buffer.from(data as ArrayBuffer)
    const channel = bytes[0]
    const text = bytes.toString('utf8', 1)
    if (channel === STDOUT || channel === STDERR)
      output[channel] = (output[channel] + text).slice(0, MOST_OUTPUT)
    if (channel !== ENDED) return
    const ended = exitCodeIn(text)
    if (typeof ended === 'string') reject(failed(ended))
    else exitCode = ended
  })
  socket.addEventListener('error', ({ message }) => {
    if (!opened) reject(failed(message || 'the API server takes no WebSocket'))
  })
  socket.addEventListener('close', () => resolve())
  try {
    await promise
    return { exitCode, stdout: output[STDOUT], stderr: output[STDERR] }
  } finally {
    clearTimeout(timer)
    await dispatcher.destroy()
  }
}

function dispatcherFor({ tls, proxy }: Pick<KubeCredentials, 'tls' | 'proxy'>) {
  return proxy === undefined ? new Agent({ connect: tls }) : new ProxyAgent({ uri: proxy, requestTls: tls })
}

/** What the `Status` at the end says: an exit code, or why there is none. */
function exitCodeIn(text: string): number | string {
  const status = JSON.parse(text) as {
    status?: string
    message?: string
    details?: { causes?: { reason?: string; message?: string }[] }
  }
  if (status.status === 'Success') return 0
  const code = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message
  return code === undefined ? (status.message ?? 'it failed without a reason') : Number(code)
}
