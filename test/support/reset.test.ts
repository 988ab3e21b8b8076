import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'

/** A connection in a process of its own, which prints what its other end saw, and is then to exit by itself. */
function play(body: string) {
  const script = `
    import { connect, createServer } from 'node:net'
    import { reset } from ${JSON.stringify(new URL('./reset.ts', import.meta.url).href)}
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {})
      ${body}
      server.close()
    })
    server.listen(0, '127.0.0.1', () => {
      const client = connect(server.address().port, '127.0.0.1').resume()
      client.on('error', ({ code }) => console.log(code))
      client.on('end', () => console.log('end'))
    })`
  return spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

for (const [what, body, seen] of [
  ['tells the other end', 'reset(socket)', 'ECONNRESET\n'],
  ['right after an end closes', 'socket.end(); reset(socket)', /^(end|ECONNRESET)\n$/],
  ['twice is one', 'reset(socket); reset(socket)', 'ECONNRESET\n'],
] as const) {
  test(`a reset ${what}, and the process exits`, { timeout: 20_000 }, async (t) => {
    const child = play(body)
    t.after(() => child.kill('SIGKILL'))
    let text = ''
    child.stdout?.on('data', (data) => {
      text += data
    })
    assert.deepEqual(await once(child, 'close'), [0, null])
    if (typeof seen === 'string') assert.equal(text, seen)
    else assert.match(text, seen)
  })
}
