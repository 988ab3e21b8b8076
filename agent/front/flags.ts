/**
 * Node's flags for the process of a front. It needs all that reexec.ts asks for: a process that replaces itself loses the pipe to its
 * agent. Without bounds V8 takes some 300 MB before it collects what 2,000 requests a second leave behind.
 */
export const FRONT_NODE_FLAGS = ['--disable-sigusr1', '--max-old-space-size=64', '--max-semi-space-size=2']
