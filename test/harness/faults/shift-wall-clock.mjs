// For --import: shifts the program's wall clock ahead by the seconds in a file, whose path is in this module's URL.
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
