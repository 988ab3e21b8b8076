// Stands in for LangFlow in tests: answers health requests, and writes what it does to a log that all replicas share.
// usage: workload.mjs PORT LOG [option ...]
//   ignore-term    SIGTERM does nothing
//   daemon         leaves a process in a session of its own, which beats as well
//   exit=CODE      ends at once
//   unhealthy=N    answers N requests to /health_check with 500 first
//
// /slow=MS answers after MS, /stream never ends, /socket is a websocket: SIGTERM waits for all of them.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { openSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'

const [port, log, ...options] = process.argv.slice(2)
const file = openSync(log, 'a')
const replica = process.env.LEADER_IDENTITY
const epoch = Number(process.env.LEADER_EPOCH)

function write(what) {
  const mono = Number(process.hrtime.bigint()) / 1e6
  writeSync(file, `${JSON.stringify({ replica, epoch, pid: process.pid, what, mono })}\n`)
}

const exit = options.find((option) => option.startsWith('exit='))
if (exit) process.exit(Number(exit.slice('exit='.length)))

write('start')
setInterval(() => write('beat'), 10)

let unhealthy = Number(
  options.find((option) => option.startsWith('unhealthy='))?.slice('unhealthy='.length) ?? 0,
)
let sick = false

const server = createServer((request, response) => {
  if (request.url === '/sicken') sick = true
  // More than a pipe holds, without waiting for it.
  if (request.url === '/shout')
    spawn('sh', ['-c', 'head -c 1000000 /dev/zero'], { stdio: ['ignore', 'inherit', 'ignore'] })
  if (request.url === '/stream') {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const timer = setInterval(() => response.write('data: x\n\n'), 100)
    response.on('close', () => clearInterval(timer))
    return
  }
  const failing = request.url === '/health_check' ? unhealthy-- > 0 : request.url === '/health' && sick
  response.writeHead(failing ? 500 : 200, { 'content-type': 'application/json' })
  const answer = () =>
    response.end(JSON.stringify({ status: failing ? 'error' : 'ok', replica, epoch, pid: process.pid }))
  if (request.url?.startsWith('/slow')) setTimeout(answer, Number(request.url.split('=')[1]))
  else answer()
})

const sockets = new Set()
server.on('upgrade', (request, socket) => {
  const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
  const accept = createHash('sha1').update(key).digest('base64')
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
  )
  sockets.add(socket)
  socket.on('error', () => {})
  socket.resume().on('close', () => {
    sockets.delete(socket)
    if (stopping && sockets.size === 0) finish()
  })
})

if (port !== '0') server.listen(Number(port), '127.0.0.1')

if (options.includes('daemon')) {
  spawn(process.execPath, [process.argv[1], '0', log, 'ignore-term'], {
    detached: true,
    stdio: 'ignore',
  }).unref()
}

let stopping = false
function finish() {
  server.close(() => process.exit(0))
  server.closeIdleConnections()
}

process.on('SIGTERM', () => {
  if (options.includes('ignore-term')) return
  write('stop')
  stopping = true
  if (sockets.size === 0) finish()
})
