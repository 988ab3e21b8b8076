// Stands in for the front's process: reports that it listens, follows each route, and writes the messages it receives to LOG.
// usage: scripted-front.mjs LOG [option]
//   refuses   cannot listen
//   stays     does not end, even if its channel closes
//   hangs     stops responding after it has followed a route
//   deaf      stops responding before it listens
import { appendFileSync } from 'node:fs'
import { Socket } from 'node:net'

const [log, option] = process.argv.slice(2)
const channel = new Socket({ fd: 3 })
const say = (message) => channel.write(`${JSON.stringify(message)}\n`)
const note = (message) => appendFileSync(log, `${JSON.stringify(message)}\n`)

const COUNTS = {
  held: 1,
  oldestHeldMs: 7,
  inFlight: 2,
  streams: 3,
  forwarded: { langflow: 4, leader: 5 },
  failed: { hold_timeout: 6, hold_limit: 0, overload: 0, outcome_unknown: 0, cut: 0, client_gone: 0 },
  streamsEnded: 8,
  rssBytes: 9,
}

note({ pid: process.pid, env: Object.keys(process.env) })
let rest = ''
channel.setEncoding('utf8').on('data', (chunk) => {
  const lines = (rest + chunk).split('\n')
  rest = lines.pop()
  for (const line of lines) received(JSON.parse(line))
})
channel.on('close', () => {
  if (option !== 'stays') process.exit(0)
  setInterval(() => {}, 1000)
})

function hang() {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}

function received(message) {
  note(message)
  if (message.type === 'begin' && option === 'refuses') {
    channel.end(`${JSON.stringify({ type: 'failed', reason: 'another program has the port' })}\n`)
  }
  if (channel.writableEnded) return
  if (message.type === 'begin' && option === 'deaf') hang()
  if (message.type === 'begin') say({ type: 'listening', port: 8091 })
  if (message.type === 'route') {
    say({ type: 'counts', counts: COUNTS })
    // Without a request for a quiet moment, that of the route before is reported late.
    say({ type: 'quiet', id: message.id - (message.route.untilQuiet ? 0 : 1) })
    say({ type: 'routed', id: message.id })
    if (option === 'hangs') hang()
  }
  if (message.type === 'end' && option !== 'stays') say({ type: 'ended' })
}
