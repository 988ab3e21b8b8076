/** What starts this same program again, whether it runs from sources or from its one bundled file. */
export function selfCommand(...args: string[]): [string, ...string[]] {
  return [process.execPath, ...process.execArgv, process.argv[1] as string, ...args]
}
