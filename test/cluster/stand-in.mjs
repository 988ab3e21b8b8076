// Stands in for LangFlow in a pod: a parent that serves nothing, and the worker it keeps, which does. Starts in a second,
// and tells a collector over UDP each 20 ms that it executes.
// /slow=MS answers after MS, /stream never ends, /socket is a websocket: SIGTERM waits for all of them.
// usage: stand-in.mjs [start=MS] [collector=HOST:PORT]
//   start      how long a worker needs before it answers (default 1000)
//   collector  who is told
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { createServer } from 'node:http'
import { setTimeout as later } from 'node:timers/promises'

const PORT = 7860
const BEAT_MS = 20

const args = process.argv.slice(2)
const option = (name) => args.find((arg) => arg.startsWith(`${name}=`))?.slice(name.length + 1)
const role = args.includes('worker') ? 'worker' : 'parent'
const replica = process.env.LEADER_IDENTITY
const epoch = Number(process.env.LEADER_EPOCH)

// One kernel, one clock: those of all pods compare.
const mono = () => Number(process.hrtime.bigint()) / 1e6

const collector = option('collector')
if (collector) {
  const [host, port] = collector.split(':')
  const socket = createSocket('udp4').unref()
  const beat = (what) => {
    const sign = { replica, epoch, pid: process.pid, role, what, mono: mono() }
    // Nobody may listen any more, e.g. at the end of a test.
    socket.send(JSON.stringify(sign), Number(port), host, () => {})
  }
  beat('start')
  setInterval(() => beat('beat'), BEAT_MS)
}

async function serve() {
  await later(Number(option('start') ?? 1000))
  const server = createServer(async (request, response) => {
    if (request.url === '/stream') {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const timer = setInterval(() => response.write('data: x\n\n'), 100)
      response.once('close', () => clearInterval(timer))
      return
    }
    const slow = /^\/slow=(\d+)$/.exec(request.url)
    if (slow) await later(Number(slow[1]))
    const answer =
      request.url === '/health'
        ? { status: 'ok' }
        : request.url === '/health_check'
          ? { status: 'ok', chat: 'ok', db: 'ok' }
          : { replica, epoch, pid: process.pid, mono: mono() }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(answer))
  })
  const sockets = new Set()
  server.on('upgrade', (request, socket) => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
    const accept = createHash('sha1').update(key).digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
    )
    const closed = new Promise((resolve) => {
      socket.on('error', () => {})
      socket.resume().once('close', resolve)
    })
    sockets.add(closed)
  })
  server.listen(PORT)
  let stopping = false
  // Twice, where the whole group is told and the parent passes it on.
  process.on('SIGTERM', async () => {
    if (stopping) return
    stopping = true
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeIdleConnections()
    await Promise.all([closed, ...sockets])
    process.exit(0)
  })
}

/** As gunicorn's master does: a worker that ends by itself is replaced. */
function keepWorker() {
  let stopping = false
  let worker
  const start = () => {
    worker = spawn(process.execPath, [process.argv[1], 'worker', ...args], { stdio: 'inherit' })
    worker.once('exit', () => {
      if (stopping) process.exit(0)
      start()
    })
  }
  process.on('SIGTERM', () => {
    stopping = true
    worker.kill('SIGTERM')
  })
  start()
}

if (role === 'worker') await serve()
else keepWorker()
