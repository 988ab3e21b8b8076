/**
 * Deliberate defects of the product, as patches of its files (`@`): `#` a rule of the design, and what the broken product does;
 * `-` a text that occurs exactly once, and `+` what takes its place, to the letter. `among`: the faults that bring it to light,
 * where a run with any faults seldom has them together. `test`: the unit test that catches what is outside of the model.
 */
export const PATCHES = `
@ agent/clock.ts
# 1: does not look at the clock that counts a suspended machine’s sleep
- Math.min(at.mono - now.mono, at.boot + BOOT_RESOLUTION_MS - now.boot)
+ at.mono - now.mono

@ agent/config/timings.ts
# 10: accepts any timings
- if (leaseDurationMs <= needed)
+ if (leaseDurationMs < 0)
test test/config/options.test.ts

@ agent/election/eligibility.ts
# versions: takes over with an older LangFlow what a newer one has led
- noted === null || !isOlder(langflow, noted)) return null
+ noted === null || noted !== '') return null
among evicted; replica lost; cut
# 11: says that it could take over although it has not seen the Lease for long
- blindMs > toleratedMs
+ blindMs < 0
among cut; refused; forbidden; token expired

@ agent/election/state.ts
# 1: leaves out the kill margin
- config.leaseDurationMs - config.killMarginMs
+ config.leaseDurationMs

@ agent/election/elector.ts
# 4: releases without compare-and-swap
-     try {
-       const lease = await (create
+     try {
+       if (write.kind === 'release') write.lease.metadata.resourceVersion = (await api.read(deadlineMs))?.metadata.resourceVersion ?? ''
+       const lease = await (create
# 4: acquires over whoever came first
-     try {
-       const lease = await (create
+     try {
+       if (write.kind === 'acquire' && !create) write.lease.metadata.resourceVersion = (await api.read(deadlineMs))?.metadata.resourceVersion ?? ''
+       const lease = await (create

@ agent/election/follower.ts
# revisions: takes the Lease at once although its revision has failed
- if (failedStart(config, state) !== null) return after(config.leaseDurationMs, 'a revision that has served')
among dies at start; evicted; replica lost
# pause: takes over what an operator paused
- if (pause !== null && holder !== config.identity) {
+ if (pause !== null && now.mono < 0) {
among takeovers paused; evicted; replica lost; exits
# 6: takes a held Lease by its renew time and the wall clock
- seen.changedAt + seen.heldMs
+ input.now.mono + Date.parse(lease.spec?.renewTime ?? '') + seen.heldMs - input.now.wall
# 7: creates without having looked again
- return fact.type === 'lease' && fact.fresh && fact.lease === null
+ return fact.type !== 'terminate'
among lease deleted; agent blocked; replica lost
# 8: takes a grant back whoever holds the Lease
- holderOf(seen.lease) === config.identity &&
# 11: lets who is unprepared take a Lease that expired as soon as anybody
- if (!state.workload.prepared) return after(config.retryPeriodMs,
+ if (!state.workload.prepared) return after(heldMs === 0 ? config.retryPeriodMs : 0,
among standby lost; standby hangs; replica lost
# 11: lets who is unprepared take a Lease that was released as soon as anybody
- if (!state.workload.prepared) return after(config.retryPeriodMs,
+ if (!state.workload.prepared) return after(heldMs === 0 ? 0 : config.retryPeriodMs,
among standby lost; standby hangs; agent ended; evicted
# 11: leaves a released Lease to its named successor for two lease durations
- successor === null ? none : { ms: config.retryPeriodMs, of: successor }
+ successor === null ? none : { ms: 2 * config.leaseDurationMs, of: successor }
among evicted; agent ended
# 11: takes a held Lease two retry periods later than it could
- seen.changedAt + seen.heldMs
+ seen.changedAt + seen.heldMs + 2 * input.config.retryPeriodMs
among replica lost; cut

@ agent/election/leader.ts
# 2: stamps the deadline of a renewal at the reply
- withTerm(before, { renewedAt: write.sentAt })
+ withTerm(before, { renewedAt: now })
# 2: stamps the deadline of a new term at the reply
- renewedAt: write.sentAt,
+ renewedAt: now,
# 3: releases before the stop is confirmed
- emit(to('stopping'), 
+ emit(to('releasing'), 
# 9: ends itself when it has lost
- 'lost', why)), nextAttemptAt: now.mono }
+ 'lost', why)), nextAttemptAt: now.mono, phase: 'ending', ending: { reason: why.reason, code: 1 }, exited: false }
# restart: forgets to start what it stopped in order to start it again
- { restarting: null, startOrdered: false }
+ { restarting: null }

@ agent/election/transition.ts
# 2: takes any answer for an acknowledgement
- write === undefined ? null : notKept(write, lease, written)
+ null as ReturnType<typeof notKept>
among updates dropped; renew times dropped; cut; writes lost
# 5: ignores another holder until the deadline
- const lost = lose(input, state, why)
+ const lost = why.reason.includes('held by') ? (state as never) : lose(input, state, why)
# 6: waits from the first sight of a holder, not from its last renewal
- changedAt: changed || seen === null ? input.now.mono : seen.changedAt
+ changedAt: seen !== null && last !== null && holderOf(last) === holderOf(lease) ? seen.changedAt : input.now.mono
# 6: acts on stale reads and events
- return !isNewer(lease.metadata.resourceVersion, seen.lease.metadata.resourceVersion)
+ return false
among watch lags; evicted
# 7: believes an absence that was read before the Lease was seen
- return fact.type === 'lease' && fact.fresh && seen !== readAfter
+ return readAfter === undefined
among lease deleted; lease deleted and applied; lease deleted, candidates restart; slow
# 7: takes its own late creation for leadership
- own !== undefined && !cameTooLate
+ own !== undefined
among late writes; lease deleted
# 8: goes on campaigning although another one writes in its name
- const STRANGER_SIGHTINGS = 2
+ const STRANGER_SIGHTINGS = 200
# 8: goes on leading although another one acquired in its name
-   const why = lostTo(input, state, lease)
+   if (holderOf(lease) === input.config.identity) return state
+   const why = lostTo(input, state, lease)

@ agent/election/lease-requests.ts
# revisions: names one of the revision that failed to follow it
- ?? (failed ? null : state.successor)
+ ?? state.successor
among dies at start; evicted; replica lost
# pause: releases the Lease with a pause that came after its step-down began
- paused && term?.stepDown?.paused === false
+ paused && term === null
among takeovers paused; evicted; agent ended
# switchover: names somebody else than the operator did
- term?.stepDown?.to ?? (failed
+ (failed
test test/election/operated.test.ts
# epochs: begins each term in the epoch of the last one
- epochAfter(highestEpoch)
+ highestEpoch
# versions: forgets with the release which LangFlow has led
- return { ...own, ...answered, successor, released
+ return { ...own, ...answered, langflow: '', successor, released
among evicted; agent ended
# versions: writes which LangFlow has led only with its first renewal
- ...(langflow !== null && {
+ ...(langflow !== null && kind !== 'acquire' && {
among evicted; replica lost

@ agent/election/state.ts
# 5: orders no kill when it has lost
- return emit({ ...state, killOrdered: true }, { type: 'kill' })
+ return state

@ agent/election/absent-lease.ts
# 6: believes a holder that was cleared by hand
- looksNeverHeld(lease) || isReleased(lease, state.lastHolder)
+ holderOf(lease) === ''
# 7: creates at once after a 404
- vacantNotBefore: waitedOut(input, state, seen?.lease ?? null),
+ vacantNotBefore: 0,
# 7: waits for an absent Lease although it could not look
- absenceSeenAt !== null && elapsed(absenceSeenAt, askedAt) <= limit && isTimely(input, state)
+ absenceSeenAt !== null
among lease deleted; cut
# 7: believes a held Lease that was emptied
- before !== null && (before.lease
+ before !== null && before.lease?.metadata.uid !== lease.metadata.uid && (before.lease

@ agent/launcher/launcher-step.ts
# 1: has no deadman in the launcher
- function watchClocks(before: LauncherRecord, now: Instant): LauncherRecord {
+ function watchClocks(before: LauncherRecord, now: Instant): LauncherRecord {
+   if (now.mono > 0) return before
# 1: accepts older grants
- grant.epoch === held.epoch && grant.killAt.mono < held.killAt.mono
+ grant.epoch < held.epoch
# 1: does not look at the wall clock
- if (doubt || now.wall >= grant.killAt.wall)
+ if (doubt)
# doubt: thaws on a grant that is in doubt already
- if (phase.name !== 'frozen' || !mayExecute(record, now))
+ if (phase.name !== 'frozen')
# doubt: goes on in doubt when it was told to stop
- if (phase.reason === 'doubt' && !over)
+ if (grant.onDoubt === 'freeze' || (phase.reason === 'doubt' && !over))
# 12: goes on in a container in which nobody reaps the dead
- return exit.unreaped ?
+ return exit.code === 77 ?
test test/launcher/launcher-step.test.ts

@ agent/launcher/launcher-ending.ts
# 1: starts again before the old workload is dead
- if (left === null) return rest(
+ if (left !== undefined) return rest(

@ agent/launcher/workload-processes.ts
# 11: starts a workload from nothing although its standby is ready
- await standby?.use()
+ await standby?.use().then(() => standby.discard())
among replica lost; standby lost; evicted
# doubt: does not freeze in doubt
- this.tree?.freeze().awake ?? 0
+ 0
# doubt: never thaws
-       this.tree?.thaw()
+ 

@ agent/lease/lease-api.ts
# 11: forgets the answer to an update that it has given up
- (settled ? seen(written) : resolve(written))
+ resolve(written)
among late writes; writes late, watch silent
# 5: takes what its update’s read showed for no news where the answer came first
- if (present !== null) seen(present)
-       return
+ return
among slow; holder replaced; stands still

@ agent/lease/lease-watcher.ts
# 11: takes the silence of its watch for the silence of the holder
- const SILENT_RETRIES = 2.5
+ const SILENT_RETRIES = 25
among watch black-holed; connections black-holed; replica lost; evicted

@ agent/link/launcher-keys.ts
# 3: takes a launcher for dead whose lock is held
- if (found?.id === this.stored.lock && found?.held === false) this.freeSince ??= now
+ if (found !== undefined) this.freeSince ??= now
among flow poses as launcher; agent killed; launcher frozen; launcher blocked

@ agent/link/link-server.ts
# 1: hands grants on by a boot clock that its launcher does not have
- boot: instant.boot - ms
+ boot: instant.boot

@ agent/peers/succession.ts
# 11: goes on starting from nothing although a prepared replica would serve at once
- else if (faster && workload.startsColder)
+ else if (faster && workload.startsColder && now < 0)
among standby hangs; standby fails; replica lost; evicted

@ agent/election/revision-trial.ts
# revisions: counts as proven what has not served
- const served = workload.well && stepDown === null && term.trialUntil === null
+ const served = stepDown === null

@ agent/replica/replica.ts
# restart: starts again in place what never served, for ever
- if (servedMs === null || servedMs < leaseDurationMs)
+ if (leaseDurationMs === 0)

@ agent/supervisor/workload-phase.ts
# 3: takes a workload for dead while it is being stopped
- return phase === 'starting' || view.state !== 'idle'
+ return phase === 'starting' || !['idle', 'stopping'].includes(view.state)

@ agent/supervisor/workload-step.ts
# 3: forgets an order to start that is under way
- phase: phase === 'orphaned' ? phase : 'starting' }
+ phase }
# 3: takes a workload for dead when its launcher is
- before.phase === 'orphaned' || mayLive(before) ? 'orphaned' : 'idle'
+ 'idle'
# 3: believes a launcher that came and went without having looked
- before.phase === 'orphaned' || mayLive(before) ? 'orphaned' : 'idle'
+ mayLive(before) ? 'orphaned' : 'idle'
among launcher flaps; lingers when killed; link slow
# 9: never campaigns again once its launcher was silent
- return before.launcher.state === 'silent' ? report(record) : record
+ return record
`
