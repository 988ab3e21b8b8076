import { GOOD_PREPARING, type Preparing } from '../standby.ts'
import { type Kind, MISSED, type Strike } from './fault.ts'

/** Of what is begun to be prepared until the fault is over; what is kept already is lost, so that there is something. */
function prepares(badly: Partial<Preparing>): Strike {
  return (_world, _fault, { preparing, launcher, config }) => {
    if (config.standby === 'cold') return MISSED
    Object.assign(preparing, badly)
    launcher?.host.loseStandby()
    return () => Object.assign(preparing, GOOD_PREPARING)
  }
}

/** What a follower keeps ready. */
export const STANDBY_FAULTS = {
  'standby lost': {
    rows: ['T18'],
    strike: (_world, _fault, { launcher, config }) =>
      launcher === null || config.standby === 'cold' ? MISSED : launcher.host.loseStandby(),
  },
  'standby fails': { rows: ['T18'], strike: prepares({ fails: true }) },
  'standby hangs': { rows: ['T18'], strike: prepares({ hangs: true }) },
} as const satisfies Record<string, Kind>
