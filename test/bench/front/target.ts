// Stands in for LangFlow in the benchmark of the front: reads each request completely, then answers with 2 KiB.
// usage: target.ts PORT
import { createServer } from 'node:http'

const ANSWER = Buffer.alloc(2_048, 'a')

const server = createServer({ keepAliveTimeout: 300_000, requestTimeout: 0 }, (request, response) => {
  request.resume().once('end', () => {
    response.writeHead(200, { 'content-type': 'text/plain', 'content-length': ANSWER.length })
    response.end(ANSWER)
  })
})
server.listen(Number(process.argv[2]), '127.0.0.1')
