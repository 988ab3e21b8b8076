// Stands in for LangFlow in tests: answers health requests, and writes beats while it executes.
// usage: workload.mjs PORT LOG [option ...]
//   LOG            the file for beats, which all replicas share; in a pod, udp:HOST:PORT of the collector
//   ignore-term    ignores SIGTERM
//   daemon         starts a process in another session, which writes beats as well
//   exit=CODE      exits immediately
//   unhealthy=N    answers the first N requests to /health_check with 500
//   start=MS       listens only after MS
//   shows=FILE     each answer contains the text of this file, as it was at the start
//   parent         doesn't serve, but keeps a worker that does, as gunicorn's master
//
// /slow=MS answers after MS, /spin=MS computes for MS and answers no other request meanwhile, /block=MS waits for MS in the same way,
// /die ends the process, /stream never ends, /socket is a websocket. SIGTERM waits for all of them.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { openSync, readFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:http'

const [port, log, ...options] = process.argv.slice(2)
const option = (name) => options.find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1)
const replica = process.env.LEADER_IDENTITY
const epoch = Number(process.env.LEADER_EPOCH)
// All pods on one kernel share this clock, so that times of different pods compare.
const mono = () => Number(process.hrtime.bigint()) / 1e6

const [, collector, collectorPort] = /^udp:(.+):(\d+)$/.exec(log) ?? []
const write = writer()

function writer() {
  const line = (what) => JSON.stringify({ replica, epoch, pid: process.pid, what, mono: mono() })
  if (collector === undefined) {
    const file = openSync(log, 'a')
    return (what) => writeSync(file, `${line(what)}\n`)
  }
  const socket = createSocket('udp4').unref()
  // At the end of a test, the collector may be gone. Such an error is ignored.
  return (what) => socket.send(line(what), Number(collectorPort), collector, () => {})
}

const shown = option('shows') === undefined ? undefined : readFileSync(option('shows'), 'utf8')
if (option('exit') !== undefined) process.exit(Number(option('exit')))

write('start')
setInterval(() => write('beat'), collector === undefined ? 10 : 20)

if (options.includes('parent')) keepWorker()
else setTimeout(serve, Number(option('start') ?? 0))

if (options.includes('daemon')) {
  const daemon = [process.argv[1], '0', log, 'ignore-term']
  spawn(process.execPath, daemon, { detached: true, stdio: 'ignore' }).unref()
}

function serve() {
  let unhealthy = Number(option('unhealthy') ?? 0)
  let sick = false
  let stopping = false
  const sockets = new Set()

  const server = createServer((request, response) => {
    if (request.url === '/sicken') sick = true
    if (request.url === '/die') process.exit(1)
    const [, stands, ms] = /^\/(spin|block)=(.+)$/.exec(request.url) ?? []
    if (stands === 'spin') spin(Number(ms))
    if (stands === 'block') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(ms))
    // A child writes more than a pipe holds. The server doesn't wait for it.
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
    const status = failing ? 'error' : 'ok'
    const answer = () =>
      response.end(JSON.stringify({ status, replica, epoch, pid: process.pid, mono: mono(), shown }))
    if (request.url?.startsWith('/slow')) setTimeout(answer, Number(request.url.split('=')[1]))
    else answer()
  })

  server.on('upgrade', (request, socket) => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
    const accept = createHash('sha1').update(key).digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
    )
    sockets.add(socket)
    socket.on('error', () => {})
    // The HTTP server allows half-open sockets, so this handler must end its own side.
    socket.on('end', () => socket.end())
    socket.resume().on('close', () => {
      sockets.delete(socket)
      if (stopping && sockets.size === 0) finish()
    })
  })

  function finish() {
    server.close(() => process.exit(0))
    server.closeIdleConnections()
  }

  if (port !== '0') server.listen(Number(port), collector === undefined ? '127.0.0.1' : undefined)

  process.on('SIGTERM', () => {
    // A second SIGTERM arrives if the whole group gets it and a parent passes it on.
    if (stopping || options.includes('ignore-term')) return
    write('stop')
    stopping = true
    if (sockets.size === 0) finish()
  })
}

/** The timer for beats can't fire meanwhile. */
function spin(ms) {
  const until = mono() + ms
  for (let next = mono(); next < until; next += 10) {
    write('beat')
    while (mono() < next + 10);
  }
}

function keepWorker() {
  let stopping = false
  let worker
  const start = () => {
    const args = [port, log, 'worker', ...options.filter((one) => one !== 'parent')]
    worker = spawn(process.execPath, [process.argv[1], ...args], { stdio: 'inherit' })
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
