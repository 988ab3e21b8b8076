import { Agent, type IncomingMessage, request } from 'node:http'
import type { Asked } from './client.ts'

export const HELD = ['request', 'stream', 'websocket', 'idle'] as const

export type HeldKind = (typeof HELD)[number]

type Request = Asked & { readonly path: string }

const STAND_IN: Record<HeldKind, Request> = {
  request: { path: '/slow=3600000' },
  stream: { path: '/stream' },
  websocket: { path: '/socket' },
  idle: { path: '/' },
}

interface Held {
  readonly ended: Promise<string>
}

export async function hold(kind: HeldKind, origin: string, asked: Request = STAND_IN[kind]): Promise<Held> {
  const { path, body, ...others } = asked
  if (kind === 'websocket') return holdWebsocket(`${origin.replace('http', 'ws')}${path}`)
  const opened = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<string>()
  const failed = (error: NodeJS.ErrnoException) => {
    opened.reject(error)
    ended.resolve(error.code ?? error.message)
  }
  const answered = (response: IncomingMessage) => {
    response.once('data', () => opened.resolve())
    response.once('error', failed)
    response.resume().once('end', () => {
      opened.resolve()
      if (kind !== 'idle') ended.resolve(`HTTP ${response.statusCode}`)
    })
  }
  const agent = new Agent({ keepAlive: kind === 'idle' })
  const sent = request(`${origin}${path}`, { ...others, agent }, answered).on('error', failed)
  sent.once('socket', (socket) => {
    socket.once('close', () => ended.resolve('closed'))
    if (kind === 'request') socket.once('connect', () => opened.resolve())
  })
  sent.end(body)
  await opened.promise
  return { ended: ended.promise }
}

async function holdWebsocket(url: string): Promise<Held> {
  const socket = new WebSocket(url)
  const ended = new Promise<string>((resolve) => {
    socket.addEventListener('close', ({ code }) => resolve(`closed with ${code}`))
  })
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve())
    socket.addEventListener('error', () => reject(new Error(`no websocket opened at ${url}`)))
  })
  return { ended }
}
