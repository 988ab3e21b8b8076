// Stands in for LangFlow in tests: answers health requests, and writes what it does to a log that all replicas share.
// usage: workload.mjs PORT LOG [option ...]
//   ignore-term    SIGTERM does nothing
//   daemon         leaves a process in a session of its own, which beats as well
//   exit=CODE      ends at once
//   unhealthy=N    answers N requests to /health_check with 500 first
import { spawn } from 'node:child_process'
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
  const failing = request.url === '/health_check' ? unhealthy-- > 0 : request.url === '/health' && sick
  response.writeHead(failing ? 500 : 200, { 'content-type': 'application/json' })
  const answer = () =>
    response.end(JSON.stringify({ status: failing ? 'error' : 'ok', replica, epoch, pid: process.pid }))
  if (request.url?.startsWith('/slow')) setTimeout(answer, Number(request.url.split('=')[1]))
  else answer()
})

if (port !== '0') server.listen(Number(port), '127.0.0.1')

if (options.includes('daemon')) {
  spawn(process.execPath, [process.argv[1], '0', log, 'ignore-term'], {
    detached: true,
    stdio: 'ignore',
  }).unref()
}

process.on('SIGTERM', () => {
  if (options.includes('ignore-term')) return
  write('stop')
  server.close(() => process.exit(0))
  server.closeIdleConnections()
})
