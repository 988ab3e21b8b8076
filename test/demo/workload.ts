// The demo's stand-in for LangFlow: node workload.ts PORT [BEATS]

import { serveStandIn } from './beats.ts'

const [port, beats = null] = process.argv.slice(2)
await serveStandIn(Number(port), beats, process.env)
