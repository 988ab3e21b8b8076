// Loaded into an agent by a test: SIGUSR2 blocks its event loop for 20 s.
process.on('SIGUSR2', () => {
  const until = process.hrtime.bigint() + 20_000_000_000n
  while (process.hrtime.bigint() < until);
})
