// Stands in for a LangFlow that computes: it serves one request at a time, each takes as long as the argument says, and
// /health is answered in between. It sleeps instead, so that its capacity is the same on each machine.
import { createServer } from 'node:http'

const eachMs = Number(process.argv[2])
const cell = new Int32Array(new SharedArrayBuffer(4))

const server = createServer((request, response) => {
  if (request.url !== '/health') Atomics.wait(cell, 0, 0, eachMs)
  response.end('ok')
})
server.listen(0, '127.0.0.1', () => process.send(server.address().port))
