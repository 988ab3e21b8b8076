/** What the default timings promise, in ms from the send of the last acknowledged renewal. */

/** Nothing executes from here on: the renew deadline. */
export const DOUBT_MS = 10_000
/** Nothing lives from here on, and the confirmation of that has been read: 14 s, and what both take. */
export const DEAD_MS = 14_300
/** Another may lead. */
export const LEASE_MS = 15_000

/** Until a timer has fired and a beat that was under way is written. */
export const SLACK_MS = 150
