// Tests load this file into an agent. SIGUSR2 then blocks the agent's event loop for 20 s.
process.on('SIGUSR2', () => {
  const until = process.hrtime.bigint() + 20_000_000_000n
  while (process.hrtime.bigint() < until);
})
