import { startAnew } from './anew.ts'

startAnew()
await import('./commands/program.ts')
