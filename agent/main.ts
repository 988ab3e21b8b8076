import { reexec } from './reexec.ts'

reexec()
await import('./program.ts')
