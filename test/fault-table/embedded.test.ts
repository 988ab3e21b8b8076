// The scenes that need no real API server, on the embedded one and with short timings.

import { globSync } from 'node:fs'
import { join } from 'node:path'

process.env.FAULT_TABLE_API = 'embedded'
for (const file of globSync('*.e2e.ts', { cwd: import.meta.dirname }).sort())
  await import(join(import.meta.dirname, file))
