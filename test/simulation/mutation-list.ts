/**
 * Deliberate defects of the product. Each is a patch of one file:
 * - `@`: the file.
 * - `#`: the rule that the defect breaks, and what the broken product does.
 * - `-`: lines that occur exactly once in the file. `+`: the lines that replace them, character for character.
 * - `among`: the only faults of these runs. Without it, a seed combines any faults, and some defects need a rare combination.
 * - `test`: a unit test that must fail, for a defect that the simulation does not model.
 */
export const PATCHES = `
@ agent/clock.ts
# 1: ignores the boot clock, which counts the sleep of a suspended machine
- Math.min(at.mono - now.mono, at.boot + BOOT_RESOLUTION_MS - now.boot)
+ at.mono - now.mono

@ agent/config/timings.ts
# 10: accepts a lease duration that is too short for the other timings
- if (leaseDurationMs <= needed)
+ if (leaseDurationMs < 0)
test test/config/options.test.ts

@ agent/election/eligibility.ts
# versions: takes over with an older LangFlow after a newer one has led
- noted === null || !isOlder(langflow, noted)) return null
+ noted === null || noted !== '') return null
among replica evicted; replica lost; network cut
# 11: reports that it could take over although its view of the Lease is too old
- blindMs > toleratedMs
+ blindMs < 0
among network cut; connections refused; requests forbidden; token expired

@ agent/election/state.ts
# 1: ends a grant with the lease duration, without a kill margin
- config.leaseDurationMs - config.killMarginMs
+ config.leaseDurationMs

@ agent/election/elector.ts
# 4: releases without compare-and-swap
-     try {
-       const lease = await (create
+     try {
+       if (write.kind === 'release') write.lease.metadata.resourceVersion = (await api.read(deadlineMs))?.metadata.resourceVersion ?? ''
+       const lease = await (create
# 4: acquires without compare-and-swap
-     try {
-       const lease = await (create
+     try {
+       if (write.kind === 'acquire' && !create) write.lease.metadata.resourceVersion = (await api.read(deadlineMs))?.metadata.resourceVersion ?? ''
+       const lease = await (create

@ agent/election/follower.ts
# revisions: takes the Lease without a delay although its revision has failed
- if (failedStart(config, state) !== null) return after(config.leaseDurationMs, 'a revision that has served')
among workload exits at start; replica evicted; replica lost
# pause: takes the Lease over while an operator has paused takeovers
- if (pause !== null && holder !== config.identity) {
+ if (pause !== null && now.mono < 0) {
among takeovers paused; replica evicted; replica lost; workload exits
# 6: times a holder out by its renew time and the wall clock
- seen.changedAt + seen.heldMs
+ input.now.mono + Date.parse(lease.spec?.renewTime ?? '') + seen.heldMs - input.now.wall
# 7: creates an absent Lease without reading it again
- return fact.type === 'lease' && fact.fresh && fact.lease === null
+ return fact.type !== 'terminate'
among Lease deleted; agent blocked; replica lost
# 8: takes its grant back after a restart although another replica holds the Lease
- holderOf(seen.lease) === config.identity &&
# 11: lets an unprepared replica take an expired Lease as early as a prepared one
- if (!state.workload.prepared) return after(config.retryPeriodMs,
+ if (!state.workload.prepared) return after(heldMs === 0 ? config.retryPeriodMs : 0,
among standby lost; standby preparation hangs; replica lost
# 11: lets an unprepared replica take a released Lease as early as a prepared one
- if (!state.workload.prepared) return after(config.retryPeriodMs,
+ if (!state.workload.prepared) return after(heldMs === 0 ? 0 : config.retryPeriodMs,
among standby lost; standby preparation hangs; agent terminated; replica evicted
# 11: reserves a released Lease for the named successor for two lease durations
- successor === null ? none : { ms: config.retryPeriodMs, of: successor }
+ successor === null ? none : { ms: 2 * config.leaseDurationMs, of: successor }
among replica evicted; agent terminated
# 11: takes an expired Lease two retry periods late
- seen.changedAt + seen.heldMs
+ seen.changedAt + seen.heldMs + 2 * input.config.retryPeriodMs
among replica lost; network cut

@ agent/election/content-change.ts
# pause: restarts LangFlow for changed files while takeovers are paused
- || paused || !well
+ || !well
among content changed; takeovers paused
# 11: starts LangFlow again for each change, however often files change
- const APART_LEASES = 2
+ const APART_LEASES = 0
among content changed
# content: acts on files from which LangFlow could not start
- problem !== null || running === null
+ running === null
test test/election/scripts.test.ts

@ agent/election/leader.ts
# restart: releases the Lease although LangFlow is to start again in its term
- gone && stepDown.inPlace &&
+ gone && epoch < 0 && stepDown.inPlace &&
test test/election/scripts.test.ts
# 2: counts the deadline of a renewal from the reply, not from the request
- withTerm(before, { renewedAt: write.sentAt })
+ withTerm(before, { renewedAt: now })
# 2: counts the deadline of a new term from the reply, not from the request
- renewedAt: write.sentAt,
+ renewedAt: now,
# 3: releases the Lease before the stop is confirmed
- emit(to('stopping'), 
+ emit(to('releasing'), 
# 9: exits when it has lost the Lease
- 'lost', why)), nextAttemptAt: now.mono }
+ 'lost', why)), nextAttemptAt: now.mono, phase: 'ending', ending: { reason: why.reason, code: 1 }, exited: false }
# restart: stops a failed workload for a restart in place, but does not start it again
- { restarting: null, startOrdered: false }
+ { restarting: null }

@ agent/election/transition.ts
# 2: takes any answer to a write as its acknowledgement
- write === undefined ? null : storageFault(write, lease, written)
+ null as ReturnType<typeof storageFault>
among updates dropped; renew times dropped; network cut; writes lost
# 5: acts until its deadline although it has seen another holder
- const lost = lose(input, state, why)
+ const lost = why.reason.includes('held by') ? (state as never) : lose(input, state, why)
# 6: counts the wait from the first sight of a holder, not from the last renewal
- changedAt: changed || seen === null ? input.now.mono : seen.changedAt
+ changedAt: seen !== null && last !== null && holderOf(last) === holderOf(lease) ? seen.changedAt : input.now.mono
# 6: acts on reads and events that are older than what it has seen
- return !isNewer(lease.metadata.resourceVersion, seen.lease.metadata.resourceVersion)
+ return false
among watch lags; replica evicted
# 7: accepts a read of an absent Lease although it has seen the Lease since that read began
- return fact.type === 'lease' && fact.fresh && seen !== lastRead?.after
+ return false
among Lease deleted; Lease deleted and recreated; Lease deleted, candidates restart; network slow
# 7: leads after its own creation arrived too late
- own !== undefined && !cameTooLate
+ own !== undefined
among writes late; Lease deleted
# 8: continues to campaign while another process writes in its name
- const STRANGER_SIGHTINGS = 2
+ const STRANGER_SIGHTINGS = 200
# 8: continues to lead after another process has acquired the Lease in its name
-   const why = lostTo(input, state, lease)
+   if (holderOf(lease) === input.config.identity) return state
+   const why = lostTo(input, state, lease)
test test/election/scripts.test.ts

@ agent/election/requests.ts
# revisions: names a successor although its own revision has failed
- ?? (failed ? null : state.successor.identity)
+ ?? state.successor.identity
among workload exits at start; replica evicted; replica lost
# pause: keeps a pause in the released Lease that was set after its step-down began
- paused && term?.stepDown?.paused === false
+ paused && term === null
among takeovers paused; replica evicted; agent terminated
# switchover: names another successor than the operator did
- stepDown?.to ?? (failed
+ (failed
test test/election/scripts.test.ts
# epochs: begins a term without raising the epoch
- epochAfter(highestEpoch)
+ highestEpoch
# versions: deletes the LangFlow version from the Lease when it releases
- if (langflow === null || kind === 'give back') return undefined
+ if (kind === 'give back') return undefined
+   if (kind === 'release' || langflow === null) return ''
among replica evicted; agent terminated
# versions: writes its LangFlow version with the first renewal, not when it acquires
- if (langflow === null || kind === 'give back') return undefined
+ if (langflow === null || kind === 'give back' || kind === 'acquire') return undefined
among replica evicted; replica lost

@ agent/election/state.ts
# 5: does not order a kill when it has lost the Lease
- return emit({ ...state, killOrdered: true }, { type: 'kill' })
+ return state

@ agent/election/absent-lease.ts
# 6: takes a Lease as released if a person has cleared its holder
- looksNeverHeld(lease) || isReleased(lease, state.lastHolder)
+ holderOf(lease) === ''
# 7: creates the Lease immediately after a 404
- vacantNotBefore: waitedOut(input, state, seen?.lease ?? null),
+ vacantNotBefore: 0,
# 7: counts time in which it could not read as time in which the Lease was absent
- absenceSeenAt !== null && elapsed(absenceSeenAt, askedAt) <= limit && isTimely(input, state)
+ absenceSeenAt !== null
among Lease deleted; network cut
# 7: takes a Lease as never held although it has seen a holder before it was emptied
- before !== null && (before.lease
+ before !== null && before.lease?.metadata.uid !== lease.metadata.uid && (before.lease

@ agent/launcher/launcher-step.ts
# 1: has no deadman
- function watchClocks(before: LauncherRecord, now: Instant): LauncherRecord {
+ function watchClocks(before: LauncherRecord, now: Instant): LauncherRecord {
+   if (now.mono > 0) return before
# 1: accepts a grant that ends before the current one
- grant.epoch === held.epoch && grant.killAt.mono < held.killAt.mono
+ grant.epoch < held.epoch
# 1: ignores the wall clock in the deadman
- if (doubt || now.wall >= grant.killAt.wall)
+ if (doubt)
# doubt: thaws the workload on a grant that is in doubt already
- if (phase.name !== 'frozen' || !mayExecute(record, now))
+ if (phase.name !== 'frozen')
# doubt: keeps a stopping workload alive in doubt
- if (phase.reason === 'doubt' && !over)
+ if (grant.onDoubt === 'freeze' || (phase.reason === 'doubt' && !over))
# 12: stays in a container in which no process reaps zombies any more
- return exit.unreaped
+ return exit.code === 77
test test/launcher/launcher-step.test.ts

@ agent/launcher/launcher-ending.ts
# 1: starts a workload before the earlier one is dead
- if (left === null) return rest(
+ if (left !== undefined) return rest(

@ agent/launcher/workload-processes.ts
# 11: starts the workload cold although its standby is ready
- await standby?.use()
+ await standby?.use().then(() => standby.discard())
among replica lost; standby lost; replica evicted
# doubt: does not freeze the workload in doubt
- this.tree?.freeze().awake ?? 0
+ 0
# doubt: never thaws the workload
-       this.tree?.thaw()
+ 

@ agent/lease/lease-api.ts
# 11: ignores the late answer to an update that has timed out
- (settled ? seen(written) : resolve(written))
+ resolve(written)
among writes late; writes late, watch silent
# 5: ignores what a read beside its update showed if the answer to the update came first
- if (present !== null) seen(present)
-       return
+ return
among network slow; holder replaced; machine paused, no clock shows it

@ agent/lease/lease-watcher.ts
# 5: drops a read that is newer than the change that the watch brought meanwhile
- if (answered && isNewer(lease.metadata.resourceVersion, this.position)) this.adopt(lease)
-       return
+ return
among network slow; holder replaced; machine paused, no clock shows it
# 11: checks a silent watch only after ten times the permitted silence
- const SILENT_RETRIES = 2.5
+ const SILENT_RETRIES = 25
among watch black-holed; connections black-holed; replica lost; replica evicted

@ agent/link/launcher-keys.ts
# 3: takes a launcher as dead although its lock is held
- if (found?.id === this.stored.lock && found?.held === false) this.freeSince ??= now
+ if (found !== undefined) this.freeSince ??= now
among flow poses as launcher; agent killed; launcher frozen; launcher blocked

@ agent/link/link-server.ts
# 1: sends grants in its own boot time instead of its launcher’s
- boot: instant.boot - ms
+ boot: instant.boot

@ agent/peers/succession.ts
# content: names a successor with files that the leader has seen replaced
- own.content?.earlier.includes(content.digest ?? '')
+ content.digest === ''
among content changed; agent terminated
# content: hands over for changed files to a replica with others
- promising && hasContent(best) && best.warm
+ promising && best.warm
test test/peers/succession.test.ts
# 11: continues a cold start although a prepared replica could serve sooner
- else if (faster && workload.startsColder)
+ else if (faster && startsColder && now < 0)
among standby preparation hangs; standby preparation fails; replica lost; replica evicted

@ agent/election/revision-trial.ts
# revisions: notes a revision as proven before it has served
- const served = workload.well && stepDown === null && term.trialUntil === null
+ const served = stepDown === null

@ agent/replica/replica.ts
# restart: restarts a workload in place without end although it never served
- if (servedMs === null || servedMs < leaseDurationMs)
+ if (leaseDurationMs === 0)

@ agent/supervisor/workload-record.ts
# 3: takes a workload as dead while it is being stopped
- return phase === 'starting' || view.state !== 'idle'
+ return phase === 'starting' || !['idle', 'stopping'].includes(view.state)

@ agent/supervisor/workload-step.ts
# 3: does not note that it has ordered a start
- phase: phase === 'orphaned' ? phase : 'starting',
+ phase,
# 3: takes a workload as dead when its launcher is gone
- before.phase === 'orphaned' || mayLive(before) ? 'orphaned' : 'idle'
+ 'idle'
# 3: takes a workload as dead because a launcher connected and left before it searched for remains
- before.phase === 'orphaned' || mayLive(before) ? 'orphaned' : 'idle'
+ mayLive(before) ? 'orphaned' : 'idle'
among launcher flaps; workload lingers after SIGKILL; link slow
# 9: never campaigns again after its launcher was silent once
- return before.launcher.state === 'silent' ? report(record) : record
+ return record
`
