/** Ctrl-C, SIGTERM or a closed terminal, once: a second one ends the process as if nobody listened. */
export function interruption(): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController()
  const abort = () => controller.abort()
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const name of signals) process.once(name, abort)
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const name of signals) process.off(name, abort)
    },
  }
}
