import { reexec } from './reexec.ts'

reexec()
await import('./commands/program.ts')
