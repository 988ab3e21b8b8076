import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import { systemClock } from '../../agent/clock.ts'
import { Demo } from '../../agent/demo/demo.ts'
import { show } from '../../agent/demo/view.ts'

test('a terminal shows a live view, also while the demo clears up', async (t) => {
  const place = { name: 'replica-a', agentPort: 1, port: 1 }
  const timings = { leaseDurationMs: 3_000, renewDeadlineMs: 2_000, retryPeriodMs: 500, killMarginMs: 500 }
  const options = { ...timings, listen: { host: '127.0.0.1', port: 0 }, command: null, json: false }
  const demo = new Demo([place], options, {}, systemClock)
  await demo.door.open(options.listen)
  const terminal = Object.assign(new PassThrough({ encoding: 'utf8' }), {
    isTTY: true,
    columns: 100,
    rows: 24,
  })
  const end = show(demo, terminal as unknown as NodeJS.WriteStream)
  t.after(() => {
    end(null)
    demo.door.close()
  })
  const drawn = async () => {
    await once(terminal, 'readable')
    return stripVTControlCharacters(terminal.read())
  }
  assert.match(await drawn(), /replica .* role .* gate.*front door http:.*Ctrl-C ends everything/s)
  demo.door.close()
  demo.doing = 'clearing up'
  assert.match(await drawn(), /clearing up; Ctrl-C/)
})
