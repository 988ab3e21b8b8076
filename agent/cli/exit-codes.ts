import { FatalError, UNREACHABLE } from '../exit.ts'
import { KubeConfigError } from '../kube/kube-access.ts'
import { ApiError } from '../kube/kube-errors.ts'
import { redactText } from '../redaction.ts'

/** The exit codes of commands for people. Scripts rely on them. A wrong command line is 2 in every command. */
export const EXIT_CODES = {
  fine: 0,
  failed: 1,
  usage: 2,
  /** The current state does not allow the operation. The command changed nothing. */
  refused: 3,
  /** The API server does not answer, or refuses this user. */
  unreachable: UNREACHABLE,
  timedOut: 124,
  interrupted: 130,
} as const

/** The stable codes in `{"error": {"code": …}}`, each with its exit code. */
export const ERROR_CODES = {
  failed: EXIT_CODES.failed,
  no_lease: EXIT_CODES.refused,
  several_leases: EXIT_CODES.usage,
  no_namespace: EXIT_CODES.usage,
  wrong_input: EXIT_CODES.usage,
  nobody_leads: EXIT_CODES.refused,
  leader_silent: EXIT_CODES.refused,
  unknown_pod: EXIT_CODES.refused,
  not_ready: EXIT_CODES.refused,
  already_leads: EXIT_CODES.refused,
  paused: EXIT_CODES.refused,
  switchover: EXIT_CODES.refused,
  not_served: EXIT_CODES.refused,
  refused: EXIT_CODES.refused,
  conflict: EXIT_CODES.refused,
  declined: EXIT_CODES.refused,
  unreachable: EXIT_CODES.unreachable,
  no_rights: EXIT_CODES.unreachable,
  no_kubeconfig: EXIT_CODES.unreachable,
  timed_out: EXIT_CODES.timedOut,
  interrupted: EXIT_CODES.interrupted,
} as const

export type ErrorCode = keyof typeof ERROR_CODES

/** A foreseen failure of a command: one sentence with the cause and the remedy. */
export class OperationError extends FatalError {
  readonly code: ErrorCode
  constructor(code: ErrorCode, sentence: string, options: { cause?: unknown } = {}) {
    super(redactText(sentence), { ...options, exitCode: ERROR_CODES[code] })
    this.code = code
  }
}

/** An `OperationError` for a failed request to the API server, or for an unusable kubeconfig. `more`: advice, for this code alone. */
export function asOperationError(error: unknown, more = '', only?: ApiError['code']): unknown {
  if (error instanceof KubeConfigError) return new OperationError('no_kubeconfig', error.message)
  if (!(error instanceof ApiError)) return error
  const advice = only === undefined || error.code === only ? more : ''
  return new OperationError(codeOf(error), `${error.message}${advice}`, { cause: error })
}

function codeOf({ code }: ApiError): ErrorCode {
  if (code === 'forbidden' || code === 'unauthorized') return 'no_rights'
  if (code === 'not_found') return 'no_lease'
  return code === 'conflict' ? 'conflict' : 'unreachable'
}
