import { type CandidateState, initialState, type Term } from '../../agent/election/state.ts'
import type { Member } from '../../agent/peers/peers.ts'

/** Another replica that could take over. */
export const MEMBER: Member = {
  identity: 'b_1',
  ready: true,
  prepared: true,
  warm: true,
  revision: null,
  unproven: false,
  podAgeMs: null,
  content: null,
  lease: 'team/lock',
  leads: false,
}

export const TERM = { epoch: 1, doubt: false, stepDown: null, planned: null } as Term

export function electionState(term: Term | null, more: Partial<CandidateState> = {}): CandidateState {
  return { ...initialState(), ...more, term } as CandidateState
}
