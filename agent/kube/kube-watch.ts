import { JsonLines } from '../json-lines.ts'
import { ApiError, parseStatus, refusal, type Target } from './kube-errors.ts'
import type { KubeObject } from './kube-objects.ts'
import type { Call, KubeRequests, Stream } from './kube-requests.ts'

export type ObjectEvent<T extends object = KubeObject> =
  | { type: 'changed'; object: T }
  | { type: 'deleted' | 'bookmark'; resourceVersion: string | undefined }

export interface ObjectWatchHandlers<T extends object = KubeObject> {
  event(event: ObjectEvent<T>): void
  /** Called exactly once, unless `close()` came first. A server ending the watch in order gives no error. */
  ended(error?: ApiError): void
}

export interface ObjectWatch {
  close(): void
  /** Ends the watch as a server does. */
  end(): void
}

/** In characters: far above any object that is watched. A longer line is no event. */
const LONGEST_LINE = 4 * 1024 * 1024

/** Opens a watch, which is in `open` for as long as it lives. Resolves once the server has answered 200. */
export async function openWatch<T extends object>(
  requests: KubeRequests,
  call: Call,
  handlers: ObjectWatchHandlers<T>,
  deadlineMs: number,
  open: Set<ObjectWatch>,
): Promise<ObjectWatch> {
  const target = requests.target(call)
  const lines = new JsonLines(LONGEST_LINE)
  let stream: Stream | undefined
  let over = false

  const close = () => {
    over = true
    open.delete(watch)
    stream?.cut()
  }
  const end = (error?: ApiError) => {
    if (over) return
    close()
    handlers.ended(error)
  }
  const watch: ObjectWatch = { close, end: () => end() }
  const read = (chunk: Buffer) => {
    for (const { message } of lines.push(chunk)) {
      if (over) return
      const event = eventIn<T>(message ?? {}, target)
      if (event instanceof ApiError) end(event)
      else handlers.event(event)
    }
  }

  stream = await requests.stream(call, unguarded(read), deadlineMs)
  if (over) stream.cut()
  else open.add(watch)
  stream.ended.then(
    () => end(lines.complete ? undefined : broken(target, 'ended in the middle of an event')),
    (error: ApiError) => end(error),
  )
  return watch
}

/** An `ERROR` event, and a line that is no event, give the error that ends the watch. */
function eventIn<T extends object>(message: object, target: Target): ObjectEvent<T> | ApiError {
  const noEvent = () => broken(target, 'holds something that is no event')
  const { type, object } = message as { type?: unknown; object?: Partial<KubeObject> | null }
  if (type === 'ERROR') {
    const status = parseStatus(JSON.stringify(object ?? null))
    return status?.code === undefined ? noEvent() : refusal(target, status.code, status)
  }
  if (typeof object?.metadata !== 'object' || object.metadata === null) return noEvent()
  const { resourceVersion } = object.metadata
  if (type === 'ADDED' || type === 'MODIFIED') return { type: 'changed', object: object as T }
  if (type === 'DELETED') return { type: 'deleted', resourceVersion }
  if (type === 'BOOKMARK') return { type: 'bookmark', resourceVersion }
  return noEvent()
}

function broken({ server }: Target, how: string): ApiError {
  return new ApiError('network', `the watch from the API server at ${server} ${how}`)
}

/** The HTTP client takes an exception in its data handler for a broken stream; a defect of ours must not hide there. */
function unguarded(data: (chunk: Buffer) => void): (chunk: Buffer) => void {
  return (chunk) => {
    try {
      data(chunk)
    } catch (defect) {
      queueMicrotask(() => {
        throw defect
      })
    }
  }
}
