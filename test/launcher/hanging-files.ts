import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import type { TestContext } from 'node:test'

type Call = 'open' | 'stat' | 'opendir'

/** Calls on one path do not end, as on a network file system whose server is gone. */
export class HangingFiles {
  /** Number of calls. */
  count = 0
  private readonly answered = Promise.withResolvers<void>()

  constructor(t: TestContext, path: string, calls: readonly Call[] = ['open', 'stat', 'opendir']) {
    for (const name of calls) {
      const original = fs[name] as (path: string, ...more: unknown[]) => Promise<never>
      const hangs = async (at: string, ...more: unknown[]) => {
        if (at === path) {
          this.count++
          await this.answered.promise
        }
        return original(at, ...more)
      }
      t.mock.method(fs, name, hangs as never)
    }
    syncBuiltinESMExports()
    t.after(() => {
      t.mock.restoreAll()
      syncBuiltinESMExports()
    })
  }

  answer(): void {
    this.answered.resolve()
  }
}
