import { FatalError } from '../exit.ts'
import { KubeConfigError } from '../kube/kube-access.ts'
import { ApiError } from '../kube/kube-errors.ts'

/** The exit codes of commands for people: scripts rely on them. A wrong command line is 2 everywhere. */
export const EXIT_CODES = {
  fine: 0,
  /** The command failed, or the state is not as it should be. */
  failed: 1,
  usage: 2,
  /** The state of things does not allow it; nothing was done. */
  refused: 3,
  /** The API server does not answer, or not to this user. */
  unreachable: 4,
  timedOut: 124,
  interrupted: 130,
} as const

/** Why a command failed: the stable words of `{"error": {"code": …}}`, each with its exit code. */
export const ERROR_CODES = {
  failed: EXIT_CODES.failed,
  no_lease: EXIT_CODES.refused,
  nobody_leads: EXIT_CODES.refused,
  /** The leader does not say whether it could. */
  leader_silent: EXIT_CODES.refused,
  unknown_pod: EXIT_CODES.refused,
  not_ready: EXIT_CODES.refused,
  already_leads: EXIT_CODES.refused,
  paused: EXIT_CODES.refused,
  /** Another switchover is under way. */
  switchover: EXIT_CODES.refused,
  /** Users are not served before anything was done, or not so that it can be measured. */
  not_served: EXIT_CODES.refused,
  /** The leader took the request out of the Lease, and did nothing. */
  refused: EXIT_CODES.refused,
  /** Others wrote the Lease meanwhile, again and again. */
  conflict: EXIT_CODES.refused,
  /** The user did not confirm. */
  declined: EXIT_CODES.refused,
  unreachable: EXIT_CODES.unreachable,
  no_rights: EXIT_CODES.unreachable,
  no_kubeconfig: EXIT_CODES.unreachable,
  timed_out: EXIT_CODES.timedOut,
  interrupted: EXIT_CODES.interrupted,
} as const

export type ErrorCode = keyof typeof ERROR_CODES

/** Why a command failed, in one sentence that says what to change. */
export class OperationError extends FatalError {
  readonly code: ErrorCode
  constructor(code: ErrorCode, sentence: string, options: { cause?: unknown } = {}) {
    super(sentence, { ...options, exitCode: ERROR_CODES[code] })
    this.code = code
  }
}

/**
 * A failed request to the API server, or a kubeconfig that cannot be used, as an operator is told, with `more` after it; other errors
 * are returned as they are.
 */
export function asOperationError(error: unknown, more = ''): unknown {
  if (error instanceof KubeConfigError) return new OperationError('no_kubeconfig', error.message)
  if (!(error instanceof ApiError)) return error
  return new OperationError(codeOf(error), `${error.message}${more}`, { cause: error })
}

function codeOf({ code }: ApiError): ErrorCode {
  if (code === 'forbidden' || code === 'unauthorized') return 'no_rights'
  if (code === 'not_found') return 'no_lease'
  return code === 'conflict' ? 'conflict' : 'unreachable'
}
