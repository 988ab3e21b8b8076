/** A deliberate defect: in one file of the product, a text that occurs exactly once is replaced. */
export interface Mutation {
  readonly name: string
  readonly file: string
  readonly from: string
  readonly to: string
}

const ELECTION = 'agent/election'
const WORKLOAD = 'agent/workload'

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'releases before the stop is confirmed',
    file: `${ELECTION}/holding.ts`,
    from: "      to('stopping')\n",
    to: "      to('releasing')\n",
  },
  {
    name: 'stamps the deadline of a renewal at the reply',
    file: `${ELECTION}/learning.ts`,
    from: 'turn.setTerm({ renewedAt: write.sentAt })',
    to: 'turn.setTerm({ renewedAt: turn.now })',
  },
  {
    name: 'stamps the deadline of a new term at the reply',
    file: `${ELECTION}/learning.ts`,
    from: '      renewedAt: write.sentAt,\n',
    to: '      renewedAt: turn.now,\n',
  },
  {
    name: 'takes a held Lease by its renew time and the wall clock',
    file: `${ELECTION}/campaigning.ts`,
    from: 'return seen.changedAt + durationOf(lease, turn.config.leaseDurationMs)',
    to: "return turn.now.mono + Date.parse(lease.spec?.renewTime ?? '') + durationOf(lease, turn.config.leaseDurationMs) - turn.now.wall",
  },
  {
    name: 'waits from the first sight of a holder, not from its last renewal',
    file: `${ELECTION}/learning.ts`,
    from: 'changedAt: changed || before === null ? turn.now.mono : before.changedAt',
    to: 'changedAt: before !== null && known !== null && holderOf(known) === holderOf(lease) ? before.changedAt : turn.now.mono',
  },
  {
    name: 'releases without compare-and-swap',
    file: `${ELECTION}/elector.ts`,
    from: '    try {\n      const lease = await (create ?',
    to: "    try {\n      if (write.kind === 'release') write.lease.metadata.resourceVersion = (await api.read(deadlineMs))?.metadata.resourceVersion ?? ''\n      const lease = await (create ?",
  },
  {
    name: 'creates at once after a 404',
    file: `${ELECTION}/learning.ts`,
    from: '    vacantNotBefore: turn.now.mono + wait,\n',
    to: '    vacantNotBefore: 0,\n',
  },
  {
    name: 'creates without having looked again',
    file: `${ELECTION}/campaigning.ts`,
    from: "return fact.type === 'lease' && fact.fresh && fact.lease === null",
    to: "return fact.type !== 'terminate'",
  },
  {
    name: 'waits for an absent Lease although it could not look',
    file: `${ELECTION}/learning.ts`,
    from: 'turn.now.mono - absenceSeenAt <= ABSENCE_GAP_RETRIES * turn.config.retryPeriodMs',
    to: 'absenceSeenAt >= 0',
  },
  {
    name: 'believes a holder that was cleared by hand',
    file: 'agent/lease/lease.ts',
    from: 'return !lease.spec?.renewTime || (lease.spec.leaseDurationSeconds ?? 0) <= 1',
    to: 'return true',
  },
  {
    name: 'ignores another holder until the deadline',
    file: `${ELECTION}/learning.ts`,
    from: '    turn.lose(`the Lease is held by',
    to: '    String(`the Lease is held by',
  },
  {
    name: 'ignores that another one held the Lease and released it',
    file: `${ELECTION}/learning.ts`,
    from: 'if (epochOf(lease) !== term.epoch) {',
    to: 'if (epochOf(lease) < 0) {',
  },
  {
    name: 'loses without killing',
    file: `${ELECTION}/turn.ts`,
    from: "    this.emit({ type: 'kill' })\n",
    to: '',
  },
  {
    name: 'takes an edited record for its own write',
    file: `${ELECTION}/learning.ts`,
    from: 'sameRecord(write.lease, lease))',
    to: 'write.renewTime === lease.spec?.renewTime && holderOf(write.lease) === holderOf(lease))',
  },
  {
    name: 'acts on stale reads and events',
    file: `${ELECTION}/learning.ts`,
    from: 'return !isNewer(lease.metadata.resourceVersion, known.metadata.resourceVersion)',
    to: 'return false',
  },
  {
    name: 'begins each term in the epoch of the last one',
    file: `${ELECTION}/lease-writes.ts`,
    from: 'leaseTransitions: state.highestEpoch + 1',
    to: 'leaseTransitions: state.highestEpoch',
  },
  {
    name: 'takes a grant back whoever holds the Lease',
    file: `${ELECTION}/campaigning.ts`,
    from: '    holderOf(seen.lease) === turn.config.identity &&\n',
    to: '',
  },
  {
    name: 'waits for the API server before it kills what has no leadership',
    file: `${ELECTION}/campaigning.ts`,
    from: '  if (settleLiveWorkload(turn)) return\n',
    to: "  if (turn.state.inFlight) return turn.decide('waiting')\n  if (settleLiveWorkload(turn)) return\n",
  },
  {
    name: 'leaves out the kill margin',
    file: `${ELECTION}/deadlines.ts`,
    from: 'config.leaseDurationMs - config.killMarginMs',
    to: 'config.leaseDurationMs',
  },
  {
    name: 'has no deadman in the launcher',
    file: `${WORKLOAD}/launcher.ts`,
    from: '  private watchClocks(): void {\n',
    to: '  private watchClocks(): void {\n    if (this.machine !== undefined) return\n',
  },
  {
    name: 'does not freeze in doubt',
    file: `${WORKLOAD}/launcher.ts`,
    from: '      this.tree?.freeze()\n',
    to: '',
  },
  {
    name: 'thaws on a grant that is in doubt already',
    file: `${WORKLOAD}/launcher.ts`,
    from: "if (this.state === 'frozen' && this.mayExecute())",
    to: "if (this.state === 'frozen')",
  },
  {
    name: 'accepts older grants',
    file: `${WORKLOAD}/launcher.ts`,
    from: 'grant.epoch === held.epoch && grant.killAt.mono <= held.killAt.mono',
    to: 'grant.epoch < held.epoch',
  },
  {
    name: 'goes on in doubt when it was told to stop',
    file: `${WORKLOAD}/launcher.ts`,
    from: '      if (!this.killing && (!this.stoppedInDoubt || over)) {\n',
    to: "      if (!this.killing && (!this.stoppedInDoubt || over) && grant.onDoubt !== 'freeze') {\n",
  },
  {
    name: 'does not look at the clock that counts a suspended machine’s sleep',
    file: 'agent/clock.ts',
    from: ' || now.boot >= at.boot + BOOT_RESOLUTION_MS',
    to: '',
  },
  {
    name: 'does not look at the wall clock',
    file: `${WORKLOAD}/launcher.ts`,
    from: 'if (doubt || now.wall >= grant.killAt.wall)',
    to: 'if (doubt)',
  },
  {
    name: 'leaves what the wall clock puts in question running with --on-doubt=stop',
    file: `${WORKLOAD}/launcher.ts`,
    from: "if (grant.onDoubt === 'freeze' || !doubt)",
    to: "if (grant.onDoubt === 'freeze')",
  },
  {
    name: 'takes a workload for dead while it is being stopped',
    file: `${WORKLOAD}/supervisor.ts`,
    from: "return this.starting || this.view.state !== 'idle'",
    to: "return this.starting || !['idle', 'stopping'].includes(this.view.state)",
  },
  {
    name: 'forgets an order to start that is under way',
    file: `${WORKLOAD}/supervisor.ts`,
    from: '    this.starting = true\n',
    to: '',
  },
  {
    name: 'takes a workload for dead when its launcher is',
    file: `${WORKLOAD}/supervisor.ts`,
    from: '    this.orphaned ||= this.mayLive\n',
    to: '',
  },
  {
    name: 'believes a launcher that came and went without having looked',
    file: `${WORKLOAD}/supervisor.ts`,
    from: '    this.orphaned ||= this.mayLive\n',
    to: '    this.orphaned = this.mayLive\n',
  },
  {
    name: 'starts again before the old workload is dead',
    file: `${WORKLOAD}/launcher.ts`,
    from: '      if (survivors.length === 0 && holder === null) break\n',
    to: '      break\n',
  },
  {
    name: 'never campaigns again once its launcher was silent',
    file: `${WORKLOAD}/supervisor.ts`,
    from: '    if (wasSilent) this.report()\n',
    to: '',
  },
]
