import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formatListen, parseListen, parsePeers, parseTarget } from '../../agent/config/address.ts'

describe('where to listen', () => {
  const good: [string, string | null, number][] = [
    [':8090', null, 8090],
    ['127.0.0.1:0', '127.0.0.1', 0],
    ['[::1]:8090', '::1', 8090],
    ['[::]:65535', '::', 65_535],
    ['0.0.0.0:80', '0.0.0.0', 80],
  ]
  for (const [text, host, port] of good) {
    it(`reads ${text}`, () => {
      assert.deepEqual(parseListen(text), { host, port })
      assert.equal(formatListen({ host, port }), text)
    })
  }

  const bad: [string, RegExp][] = [
    ['8090', /write it as :8090, 127\.0\.0\.1:8090 or \[::1\]:8090/],
    ['', /write it as :8090/],
    ['::1:8090', /write it as :8090/],
    [':65536', /the port is a number from 0 to 65535/],
    [':-1', /the port is a number/],
    [':http', /the port is a number/],
    [':', /the port is a number/],
    ['localhost:8090', /the host is an IP address/],
    ['256.0.0.1:8090', /the host is an IP address/],
    ['[127.0.0.1]:8090', /in brackets goes an IPv6 address/],
    ['[]:8090', /in brackets goes an IPv6 address/],
    ['http://127.0.0.1:8090', /write it as :8090/],
  ]
  for (const [text, sentence] of bad) {
    it(`refuses '${text}'`, () => assert.throws(() => parseListen(text), { message: sentence }))
  }
})

describe('where the workload answers', () => {
  const good: [string, string, number][] = [
    ['http://127.0.0.1:7860', 'http://127.0.0.1:7860', 7860],
    ['http://localhost:80/', 'http://localhost:80', 80],
    ['https://127.0.0.1:443', 'https://127.0.0.1:443', 443],
    ['http://[::1]:7860', 'http://[::1]:7860', 7860],
    ['HTTP://127.9.9.9:1', 'http://127.9.9.9:1', 1],
  ]
  for (const [text, origin, port] of good) {
    it(`reads ${text}`, () => assert.deepEqual(parseTarget(text), { origin, port }))
  }

  const bad: [string, RegExp][] = [
    ['127.0.0.1:7860', /write it as an http or https URL, such as http:\/\/127\.0\.0\.1:7860/],
    ['ftp://127.0.0.1:7860', /write it as an http or https URL/],
    ['', /write it as an http or https URL/],
    ['http://127.0.0.1:99999', /write it as an http or https URL/],
    ['http://127.0.0.1', /name the port/],
    ['http://127.0.0.1/:80', /leave out everything after the port/],
    ['http://127.0.0.1:0', /the port is a number from 1 to 65535/],
    ['http://10.0.0.7:7860', /use a loopback address/],
    ['http://127.0.0.1.example.com:7860', /use a loopback address/],
    ['http://langflow:7860', /use a loopback address/],
    ['http://u:p@127.0.0.1:7860', /leave out user and password/],
    ['http://127.0.0.1:7860/api', /leave out everything after the port/],
    ['http://127.0.0.1:7860/?x=1', /leave out everything after the port/],
  ]
  for (const [text, sentence] of bad) {
    it(`refuses '${text}'`, () => assert.throws(() => parseTarget(text), { message: sentence }))
  }
})

describe('where the other replicas answer', () => {
  const good: [string, string, number][] = [
    ['langflow-members:8090', 'langflow-members', 8090],
    ['langflow-members.team.svc.cluster.local.:1', 'langflow-members.team.svc.cluster.local.', 1],
    ['10.0.0.7:65535', '10.0.0.7', 65_535],
    ['[fd00::7]:8090', 'fd00::7', 8090],
  ]
  for (const [text, host, port] of good) {
    it(`reads ${text}`, () => assert.deepEqual(parsePeers(text), { host, port }))
  }

  const bad: [string, RegExp][] = [
    ['langflow-members', /write it as langflow-members:8090, 10\.0\.0\.7:8090 or \[fd00::7\]:8090/],
    ['', /write it as langflow-members:8090/],
    [':8090', /write it as langflow-members:8090/],
    ['fd00::7:8090', /write it as langflow-members:8090/],
    ['http://langflow-members:8090', /write it as langflow-members:8090/],
    ['langflow-members:8090/status', /the port is a number from 1 to 65535/],
    ['langflow-members:0', /the port is a number from 1 to 65535/],
    ['langflow-members:65536', /the port is a number/],
    ['langflow-members:http', /the port is a number/],
    ['[langflow-members]:8090', /in brackets goes an IPv6 address/],
    ['[]:8090', /in brackets goes an IPv6 address/],
    ['user@host:8090', /the host is a DNS name or an IP address/],
    ['-members:8090', /the host is a DNS name or an IP address/],
    ['a..b:8090', /the host is a DNS name or an IP address/],
    [`${'a'.repeat(254)}:8090`, /the host is a DNS name or an IP address/],
  ]
  for (const [text, sentence] of bad) {
    it(`refuses '${text}'`, () => assert.throws(() => parsePeers(text), { message: sentence }))
  }
})
