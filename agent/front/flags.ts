/**
 * Node's flags for the process of a front. It needs all that reexec.ts asks for: a process that replaces itself loses the pipe to its
 * agent. Left to itself Node takes 300 MB under load; without half of V8's compilers and with a small young part of its heap it takes
 * 105 MB at 200 requests a second, and is no slower. `--expose-gc` is for garbage.ts. The heap has room for 10,000 requests in
 * flight: budget.ts refuses more.
 */
export const FRONT_NODE_FLAGS = [
  '--disable-sigusr1',
  '--expose-gc',
  '--max-old-space-size=256',
  '--max-semi-space-size=2',
  '--no-maglev',
  '--liftoff-only',
]
