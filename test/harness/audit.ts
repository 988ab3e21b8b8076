/** One request that kube-apiserver has answered; a watch as soon as it is open. */
export interface AuditRecord {
  /** RFC 3339, when the request came in. */
  readonly at: string
  readonly verb: string
  readonly user: string
  readonly userAgent: string
  readonly resource: string
  readonly namespace: string
  readonly name: string
  readonly code: number
}

export type AuditFilter = Partial<Record<'verb' | 'user' | 'resource' | 'namespace' | 'name', string>> & {
  /** Part of the user agent. */
  readonly userAgent?: string
}

export const POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  omitManagedFields: true,
  rules: [{ level: 'Metadata' }],
}

interface AuditEvent {
  stage: string
  verb: string
  requestReceivedTimestamp: string
  user?: { username?: string }
  userAgent?: string
  objectRef?: { resource?: string; namespace?: string; name?: string }
  responseStatus?: { code?: number }
}

/** Reads an audit log; a last line that is still being written is left out. */
export function readAudit(log: string): AuditRecord[] {
  const whole = log.slice(0, log.lastIndexOf('\n') + 1)
  const events = whole.split('\n').filter((line) => line !== '')
  return events
    .map((line) => JSON.parse(line) as AuditEvent)
    .filter(({ stage, verb }) => stage === (verb === 'watch' ? 'ResponseStarted' : 'ResponseComplete'))
    .map((event) => ({
      at: event.requestReceivedTimestamp,
      verb: event.verb,
      user: event.user?.username ?? '',
      userAgent: event.userAgent ?? '',
      resource: event.objectRef?.resource ?? '',
      namespace: event.objectRef?.namespace ?? '',
      name: event.objectRef?.name ?? '',
      code: event.responseStatus?.code ?? 0,
    }))
}

export function matchesAudit(filter: AuditFilter, record: AuditRecord): boolean {
  const { userAgent, ...exact } = filter
  const same = (Object.keys(exact) as (keyof typeof exact)[]).every((key) => exact[key] === record[key])
  return same && (userAgent === undefined || record.userAgent.includes(userAgent))
}
