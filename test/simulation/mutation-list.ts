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
# 10: accepts a renew deadline that leaves no time for a retry
- if (renewDeadlineMs <= stretched)
+ if (renewDeadlineMs < 0)
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
# 11: says that it could take over although it may not write the Lease
- if (writeRight === 'refused')
+ if (seen === null)
test test/election/eligibility.test.ts

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
# 1: waits for the API server before it kills what has no leadership
-   if (workload.alive === 'maybe') {
+   if (state.inFlight) return decide(state, 'waiting')
+   if (workload.alive === 'maybe') {
test test/election/transition.test.ts
# 6: takes a held Lease by its renew time and the wall clock
- seen.changedAt + seen.heldMs
+ input.now.mono + Date.parse(lease.spec?.renewTime ?? '') + seen.heldMs - input.now.wall
# 7: creates without having looked again
- return fact.type === 'lease' && fact.fresh && fact.lease === null
+ return fact.type !== 'terminate'
among lease deleted; agent blocked; replica lost
# 8: takes a grant back whoever holds the Lease
- holderOf(seen.lease) === config.identity &&
# 8: gives back whatever is held in its identity, once an earlier term is proven dead
- && workload.ended ===
+ && workload.ended !== null || '' ===
test test/election/restarted.test.ts
# 4: gives back what another one holds
- holderOf(lease) === identity && workload.ended
+ workload.ended
test test/election/restarted.test.ts
# 3: gives back beside a workload that may live
- isOfPod && workload.alive === 'no' &&
+ isOfPod &&
test test/election/restarted.test.ts
# pause: gives back what nobody may take
- isOver(config, state, seen.lease) && !state.paused
+ isOver(config, state, seen.lease)
test test/election/restarted.test.ts
# 11: takes back at once what a prepared standby could follow in
- { ...ended, nextAttemptAt: now.mono + config.retryPeriodMs / 2 }
+ { ...ended, nextAttemptAt: now.mono }
test test/election/restarted.test.ts
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
# pause: hands over although an operator paused that
- if (state.paused && !goesOn)
+ if (state.paused && goesOn && input.now.mono < 0)
test test/election/operated.test.ts
# 2: stamps the deadline of a renewal at the reply
- withTerm(before, { renewedAt: write.sentAt })
+ withTerm(before, { renewedAt: now })
# 2: stamps the deadline of a new term at the reply
- renewedAt: write.sentAt,
+ renewedAt: now,
# 3: releases before the stop is confirmed
- emit(to('stopping'), 
+ emit(to('releasing'), 
# 5: ignores that another one held the Lease and released it
- if (holder === '') return looksNeverHeld(lease) ? null : other('somebody else held the Lease meanwhile')
+ if (holder === '') return null
test test/election/transition.test.ts
# 7: re-creates a Lease whose time is over by the wall clock
- if (proven || now.wall < deadline.wall) return null
+ if (proven || now.mono > 0) return null
test test/election/transition.test.ts
# 9: ends itself when it has lost
- 'lost', why)), nextAttemptAt: now.mono }
+ 'lost', why)), nextAttemptAt: now.mono, phase: 'ending', ending: { reason: why.reason, code: 1 }, exited: false }
# restart: starts again in place before nothing of the old workload lives
- const ended = workload.alive === 'no'
+ const ended = workload.alive === 'no' || term.restarting !== null
test test/election/failing.test.ts
# restart: forgets to start what it stopped in order to start it again
- { restarting: null, startOrdered: false }
+ { restarting: null }
# restart: kills what it is to start again
- return emit(restarting, { type: 'restart', ...why, graceMs: stopTimeoutMs })
+ return kill(restarting)
test test/election/failing.test.ts

@ agent/election/transition.ts
# 2: takes any answer for an acknowledgement
- write === undefined ? null : notKept(write, lease, written)
+ null as ReturnType<typeof notKept>
among updates dropped; renew times dropped; cut; writes lost
# 2: takes an edited record for its own write
- sameRecord(write.lease, lease))
+ write.renewTime === lease.spec?.renewTime && holderOf(write.lease) === holderOf(lease))
test test/election/transition.test.ts
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
# pause: removes a pause that it saw before its step-down began
- paused && term?.stepDown?.paused === false
+ paused && term !== null
test test/election/operated.test.ts
# switchover: names somebody else than the operator did
- term?.stepDown?.to ?? (failed
+ (failed
test test/election/operated.test.ts
# switchover: leaves a request that was refused in the Lease
- refusal?.open ? { ...both, ...answered } : both
+ refusal === undefined ? { ...both, ...answered } : both
test test/election/operated.test.ts
# epochs: begins each term in the epoch of the last one
- epochAfter(highestEpoch)
+ highestEpoch
# epochs: writes an epoch that does not fit into its field
- Math.min(epoch, LARGEST_TRANSITIONS)
+ epoch
test test/election/record.test.ts
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
# 6: believes a duration that somebody else shortened
- edited ? (before?.heldMs ?? 0) : 0
+ 0
test test/election/record.test.ts
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
# 1: leaves what the wall clock puts in question running with --on-doubt=stop
- if (grant.onDoubt === 'freeze' || !doubt)
+ if (grant.onDoubt === 'freeze')
test test/launcher/launcher-step.test.ts
# doubt: thaws on a grant that is in doubt already
- if (phase.name !== 'frozen' || !mayExecute(record, now))
+ if (phase.name !== 'frozen')
# doubt: goes on in doubt when it was told to stop
- if (phase.reason === 'doubt' && !over)
+ if (grant.onDoubt === 'freeze' || (phase.reason === 'doubt' && !over))
# doubt: leaves running what is woken again and again
- return awakeLooks < AWAKE_LOOKS ?
+ return awakeLooks >= 0 ?
test test/launcher/launcher-step.test.ts
# 12: goes on in a container in which nobody reaps the dead
- return exit.unreaped ?
+ return exit.code === 77 ?
test test/launcher/launcher-step.test.ts

@ agent/launcher/launcher-ending.ts
# 1: starts again before the old workload is dead
- if (left === null) return rest(
+ if (left !== undefined) return rest(
# 11: prepares no standby again after a term
- tell(prepareStandby(emit(known, { type: 'rest' })), cause)
+ tell(emit(known, { type: 'rest' }), cause)
test test/launcher/launcher-step.test.ts

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

@ agent/launcher/launcher.ts
# 12: takes a message of the link for an event of its own
-     if (!ORDERS.has(message.type)) return
test test/launcher/launcher.test.ts

@ agent/launcher/standby/warm-standby.ts
# restart: goes on from a standby that has read what has changed since
- stateNow(path) !== then
+ stateNow(path) === ''
test test/launcher/standby/warm-standby.test.ts

@ agent/lease/lease.ts
# 6: believes a release that nobody says to have made
-   if (!looksReleased || identity === undefined ||
+   if (looksReleased && identity === undefined) return true
+   if (!looksReleased || identity === undefined ||
test test/election/record.test.ts
# 4: believes a release by another than the holder
-  && identity === last.holder
test test/election/record.test.ts

@ agent/lease/lease-api.ts
# 11: waits for an update on a dead connection until its deadline
- clock.after(LOOK_PART * deadlineMs, () => void look())
+ clock.after(2 * deadlineMs, () => void look())
test test/lease/lease-api.test.ts
# 11: forgets the answer to an update that it has given up
- (settled ? seen(written) : resolve(written))
+ resolve(written)
among late writes; writes late, watch silent
# 5: takes what its update’s read showed for no news where the answer came first
- if (present !== null) seen(present)
-       return
+ return
among slow; holder replaced; stands still

@ agent/lease/lease-api.ts
# 11: looks into silence over the connection that is there
- this.objects.get(LEASE, this.name, leftMs, 'a new connection')
+ this.objects.get(LEASE, this.name, leftMs)
test test/lease/lease-api.test.ts

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
# 3: takes another file in the place of a launcher’s lock for that lock
- found?.id === this.stored.lock && found?.held === false
+ found?.held === false
test test/link/link.test.ts
# 3: leaves the kernel no time to end what a dead launcher ran
- now >= this.freeSince + ENDING_MS
+ now >= this.freeSince
test test/link/link.test.ts
# 3: takes the last launcher for dead because another one comes
- (dead && stored.term) || stored.ended || null
+ stored.term || stored.ended || null
test test/link/link.test.ts
# 3: takes it for dead because one comes that shares its PID namespace, or runs something
- alone && view.state === 'idle' && this.isProvedDead()
+ this.isProvedDead()
test test/link/link.test.ts
# 3: takes a term for dead that the next launcher was granted
- this.save({ ...this.stored, term, ended: null })
+ this.save({ ...this.stored, term })
test test/link/link.test.ts

@ agent/link/link-server.ts
# 1: hands grants on by a boot clock that its launcher does not have
- boot: instant.boot - ms
+ boot: instant.boot
# 1: takes the largest difference of two boot clocks for the right one
- this.ms = Math.min(ms, this.ms ?? ms)
+ this.ms = Math.max(ms, this.ms ?? ms)
test test/link/boot-offset.test.ts

@ agent/peers/succession.ts
# 11: goes on starting from nothing although a prepared replica would serve at once
- else if (faster && workload.startsColder)
+ else if (faster && workload.startsColder && now < 0)
among standby hangs; standby fails; replica lost; evicted

# revisions: lets a revision wait for good beside younger pods of the one that serves
- if (unproven && !own.unproven) return age ?? Number.MAX_SAFE_INTEGER - 1
test test/peers/succession.test.ts
# revisions: forgets what was tried in vain as soon as its first start has failed
- one.identity === identity && one.revision === tried.revision
+ one.ready && one.identity === identity && one.revision === tried.revision
test test/peers/succession.test.ts

@ agent/peers/switchover-request.ts
# switchover: hands over to one that could not take over
- if (member?.ready) return
+ if (member) return
test test/peers/switchover-request.test.ts

@ agent/peers/other-leases.ts
# 1: competes for a Lease of its own beside peers that compete for another one
- if (lease === own.lease) return false
+ if (lease !== '') return false
test test/peers/other-leases.test.ts

@ agent/processes/membership.ts
# 12: is no PID 1, and takes itself for alone
- if (process.pid !== 1 || readlinkSync('/proc/self') !== '1') return false
test test/processes/process-alone.test.ts

@ agent/processes/process-tree.ts
# doubt: does not see who of the frozen was woken
- if (frozen) awake =
+ if (frozen && child === undefined) awake =
test test/processes/process-tree.test.ts

@ agent/lease/proven-revisions.ts
# revisions: forgets that the first start of one pod failed with the failure of the next
- failed: [clipped, ...others].slice(0, MOST_FAILED)
+ failed: [clipped]
test test/lease/proven-revisions.test.ts

@ agent/election/revision-trial.ts
# revisions: knows no failure but the last one
- const failed = state.revisions.failed.filter(
+ const failed = state.revisions.failed.slice(0, 1).filter(
test test/election/revision-trial.test.ts
# revisions: counts as proven what has not served
- const served = workload.well && stepDown === null && term.trialUntil === null
+ const served = stepDown === null
# revisions: gives a first start no limit of its own
- return now.mono + Math.min(config.startTimeoutMs, firstMs)
+ return now.mono + config.startTimeoutMs
test test/election/revision-trial.test.ts
# revisions: holds a cut to the API server against the revision
- if (BLAMELESS.has(code)) return null
test test/election/revision-trial.test.ts

@ agent/replica/replica-status.ts
# revisions: has Kubernetes delete the pods that serve for one that never did
- if (onTrial(facts) !== null) return false
test test/replica/replica-status.test.ts

@ agent/replica/replica.ts
# restart: starts again in place what never served, for ever
- if (servedMs === null || servedMs < leaseDurationMs)
+ if (leaseDurationMs === 0)

@ agent/supervisor/workload-health.ts
# 11: counts a start timeout anew with each launcher and each thaw
- const leftMs = before.health.orderedAt + config.startTimeoutMs - now
+ const leftMs = config.startTimeoutMs
test test/supervisor/workload-step.test.ts
# 11: forgets with its agent that LangFlow was healthy
- const known = before.health.servedSince ?? servedSince
+ const known = before.health.servedSince
test test/supervisor/workload-step.test.ts

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
# 11: lets an open connection hold a stop up after its drain
- return sendStop(told, Math.min(graceMs, CUT_OFF_MS))
+ return sendStop(told, graceMs)
test test/supervisor/workload-step.test.ts
`
