import type { Clock } from '../clock.ts'
import { oneLine } from '../exit.ts'

/** What is shown again and again. */
export interface View {
  /** As it is now. */
  readonly text: string
  /** What makes two views differ for whoever only wants to hear of changes. */
  readonly key: string
}

export interface WatchOptions {
  /** Rejects where it cannot be told; the first time that is the end of it, later it is shown. */
  readonly read: () => Promise<View>
  /** Between the end of one reading and the next. */
  readonly periodMs: number
  readonly signal: AbortSignal
  readonly clock: Clock
  readonly stdout: Pick<NodeJS.WriteStream, 'isTTY' | 'rows'>
  readonly write: (text: string) => Promise<void>
  /** A failure while nothing is redrawn. */
  readonly warn: (sentence: string) => void
}

const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l'
const LEAVE = '\u001b[?7h\u001b[?25h\u001b[?1049l'
const HOME = '\u001b[H'
const REST_OF_LINE = '\u001b[K'
const REST_OF_SCREEN = '\u001b[J'

/** Shows it until `signal`: redrawn in place on a terminal, which is left as it was; else printed whenever it changes. */
export async function watch(options: WatchOptions): Promise<void> {
  const first = await options.read()
  if (!options.stdout.isTTY) return printed(options, first)
  await options.write(ENTER)
  let last = first
  try {
    await repeated(options, first, async (view, failure) => {
      last = view
      await options.write(screen(view, failure, options))
    })
  } finally {
    await options.write(`${LEAVE}${last.text}`)
  }
}

async function printed(options: WatchOptions, first: View): Promise<void> {
  let said: string | null = null
  await repeated(options, first, async ({ text, key }, failure) => {
    const news = failure === null ? `is ${key}` : `failed ${failure}`
    if (news === said) return
    said = news
    if (failure === null) await options.write(text)
    else options.warn(failure)
  })
}

/** Until `signal`; `failure`: why the view is not that of now. */
async function repeated(
  { read, periodMs, signal, clock }: WatchOptions,
  first: View,
  show: (view: View, failure: string | null) => Promise<void>,
): Promise<void> {
  const aborted = new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  let view = first
  let failure: string | null = null
  while (!signal.aborted) {
    await show(view, failure)
    const timer = Promise.withResolvers<void>()
    const cancellable = clock.after(periodMs, timer.resolve)
    await Promise.race([timer.promise, aborted])
    cancellable.cancel()
    if (signal.aborted) return
    const outcome = await Promise.race([
      read().then(
        (next) => ({ next }),
        (error: Error) => ({ error }),
      ),
      aborted,
    ])
    if (outcome === undefined) return
    failure = 'error' in outcome ? oneLine(outcome.error.message) : null
    if ('next' in outcome) view = outcome.next
  }
}

function screen({ text }: View, failure: string | null, { stdout, periodMs }: WatchOptions): string {
  const time = new Date().toLocaleTimeString('en-GB')
  const top = `${time}, every ${periodMs / 1000} s; Ctrl-C ends`
  const lines = [
    failure === null ? top : `${top}. Not as of now: ${failure}`,
    '',
    ...text.trimEnd().split('\n'),
  ]
  // Some terminals do not know their size, and say 0.
  const fitting = lines.slice(0, stdout.rows || undefined)
  return `${HOME}${fitting.map((line) => `${line}${REST_OF_LINE}`).join('\n')}${REST_OF_SCREEN}`
}
