import { connect } from 'node:net'

export interface Address {
  readonly host: string
  readonly port: number
}

/** Whether something accepts TCP connections there: `null`, or what went wrong, in one word. */
export function canConnect({ host, port }: Address, withinMs: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: withinMs })
    const end = (problem: string | null) => {
      resolve(problem)
      socket.destroy()
    }
    socket.on('connect', () => end(null))
    socket.on('timeout', () => end('no answer'))
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'it refused'))
  })
}
