// Runs the quick cases, which need no real API server, on the embedded one, with short timings.

import { globSync } from 'node:fs'
import { join } from 'node:path'

process.env.FAULT_TABLE_API = 'embedded'
for (const file of globSync('*.e2e.ts', { cwd: import.meta.dirname }).sort())
  await import(join(import.meta.dirname, file))
