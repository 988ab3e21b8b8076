// With --import: the program's wall clock is ahead of the machine's by as many seconds as stand in the file that its address names.
import { readFileSync } from 'node:fs'

const file = new URL(import.meta.url).searchParams.get('file')
const real = Date.now
const now = () => real() + Number(readFileSync(file, 'utf8')) * 1000

globalThis.Date = class extends Date {
  static now = now
  constructor(...args) {
    super(...(args.length === 0 ? [now()] : args))
  }
}
