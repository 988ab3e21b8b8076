import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { LISTEN, readSockets } from '../processes/sockets.ts'

export interface Acceptors {
  /** Those that wait for connections on the port. */
  readonly pids: number[]
  /** Somebody listens on the port, and of some of the processes it may not be seen which files they have open. */
  readonly hidden: boolean
}

/**
 * Which of some processes wait for connections on a local TCP port. To have the listening socket open is not enough:
 * gunicorn's master holds it and never accepts, and so does a worker that it has forked and that is still starting. Who
 * waits has the socket in an epoll instance, as every event loop does (uvicorn, asyncio, Node); proc_pid_fdinfo(5) tells
 * by its inode. One that blocks in accept(2) or waits in select(2) instead is not found. Throws where it cannot be told now.
 */
export function findAcceptors(port: number, pids: readonly number[]): Acceptors {
  const sockets = readSockets()
  if (sockets === undefined) throw new Error('/proc/net/tcp cannot be read')
  const listening = sockets.filter((socket) => socket.localPort === port && socket.state === LISTEN)
  if (listening.length === 0) return { pids: [], hidden: false }
  const inodes = listening.map(({ inode }) => ` ino:${Number(inode).toString(16)} `)
  let hidden = false
  const waiting = pids.filter((pid) => {
    const polled = readEpolls(pid)
    hidden ||= polled === 'forbidden'
    return inodes.some((inode) => polled.includes(inode))
  })
  return { pids: waiting, hidden }
}

/** What all epoll instances of a process wait for; '' where it has none, or has ended. */
function readEpolls(pid: number): string {
  const fds = `/proc/${pid}/fd`
  try {
    // Whatever is closed meanwhile says nothing about the others.
    const epolls = unlessGone(() => readdirSync(fds), []).filter(
      (fd) => unlessGone(() => readlinkSync(`${fds}/${fd}`), '') === 'anon_inode:[eventpoll]',
    )
    return epolls
      .map((fd) => unlessGone(() => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'), ''))
      .join('')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EACCES' || code === 'EPERM') return 'forbidden'
    // E.g. EMFILE: it must not look as if nobody accepted.
    throw error
  }
}

function unlessGone<T>(read: () => T, otherwise: T): T {
  try {
    return read()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return otherwise
    throw error
  }
}
