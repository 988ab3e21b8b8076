/**
 * Node's flags for the process of a front. It needs all that reexec.ts asks for: a process that replaces itself loses the pipe to its
 * agent. As Node is by itself it takes 300 MB under load. The half of V8's compilers that is left out, and a heap whose young part is
 * small, cost no throughput that could be measured and save 30 MB.
 */
export const FRONT_NODE_FLAGS = [
  '--disable-sigusr1',
  '--max-old-space-size=64',
  '--max-semi-space-size=2',
  '--no-maglev',
  '--liftoff-only',
]
