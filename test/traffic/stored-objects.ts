import assert from 'node:assert/strict'
import { ApiError } from '../../agent/kube/errors.ts'
import type { Kind, KubeObject, MergePatch, ObjectsApi } from '../../agent/kube/objects.ts'

type Changes = Readonly<Record<string, string | null>> | undefined

/** What a test says of an object. */
interface Given {
  readonly metadata?: Partial<KubeObject['metadata']> | { readonly [field: string]: unknown }
  readonly [field: string]: unknown
}

/** The objects of one namespace as an API server keeps them; `before` makes requests end as a test says. */
export class StoredObjects implements ObjectsApi {
  readonly namespace = 'team'
  readonly calls: string[] = []
  readonly objects = new Map<string, KubeObject>()
  private version = 0

  private meet: (call: string, carryOut: () => unknown) => unknown = () => {}

  /** From now on does this before each such request, such as `patch a`, or instead of it where it fails. */
  before(call: RegExp, act: (carryOut: () => unknown) => unknown): void {
    this.meet = (asked, carryOut) => (call.test(asked) ? act(carryOut) : undefined)
  }

  /** Requests of this verb get no answer until it answers again; `late` carries the last one out. */
  loseAnswers(verb: string): { late: () => unknown; answerAgain(): void } {
    const lost = {
      late: (): unknown => assert.fail('it was not sent'),
      answerAgain: () => {
        this.meet = () => {}
      },
    }
    this.before(new RegExp(`^${verb}`), (carryOut) => {
      lost.late = carryOut
      throw unanswered()
    })
    return lost
  }

  put(name: string, given: Given = {}): void {
    const metadata = {
      uid: `uid-of-${name}`,
      ...given.metadata,
      name,
      resourceVersion: String(++this.version),
    }
    this.objects.set(name, { ...given, metadata })
  }

  /** As somebody else changes it. */
  edit(name: string, change: (object: KubeObject) => Given): void {
    const object = this.found(name)
    this.put(name, { ...object, ...change(object) })
  }

  labels(name: string): Readonly<Record<string, string>> {
    return this.found(name).metadata.labels ?? {}
  }

  annotations(name: string): Readonly<Record<string, string>> {
    return this.found(name).metadata.annotations ?? {}
  }

  /** Those that were not reads. */
  get writes(): string[] {
    return this.calls.filter((call) => /^(patch|update)/.test(call))
  }

  get = (_: Kind, name: string): Promise<KubeObject> => this.answer(`get ${name}`, () => this.found(name))

  list = (_: Kind, labels: Readonly<Record<string, string>>): Promise<KubeObject[]> =>
    this.answer('list', () =>
      [...this.objects.values()].filter(({ metadata }) =>
        Object.entries(labels).every(([name, value]) => metadata.labels?.[name] === value),
      ),
    )

  patch = (_: Kind, name: string, patch: MergePatch): Promise<KubeObject> =>
    this.answer(`patch ${name}`, () => {
      const { metadata, ...rest } = this.found(name)
      const { uid, resourceVersion, labels, annotations } = patch.metadata
      if (uid !== metadata.uid || resourceVersion !== metadata.resourceVersion) throw conflict()
      const changed = {
        ...metadata,
        labels: merged(metadata.labels, labels),
        annotations: merged(metadata.annotations, annotations),
      }
      return this.stored(name, { ...rest, metadata: changed })
    })

  update = (_: Kind, object: KubeObject): Promise<KubeObject> =>
    this.answer(`update ${object.metadata.name}`, () => {
      const { name, resourceVersion } = object.metadata
      if (resourceVersion !== this.found(name).metadata.resourceVersion) throw conflict()
      return this.stored(name, object)
    })

  close(): void {}

  /** As in an API server, what changes nothing makes no new version. */
  private stored(name: string, object: KubeObject): KubeObject {
    if (JSON.stringify(object) !== JSON.stringify(this.found(name))) this.put(name, object)
    return this.found(name)
  }

  private found(name: string): KubeObject {
    const object = this.objects.get(name)
    if (object === undefined) throw new ApiError('not_found', `there is no "${name}"`)
    return object
  }

  private async answer<T>(call: string, carryOut: () => T): Promise<T> {
    this.calls.push(call)
    await this.meet(call, carryOut)
    return carryOut()
  }
}

function merged(before: object | null | undefined, changes: Changes): Record<string, string> {
  const all: Record<string, string | null> = { ...before, ...changes }
  return Object.fromEntries(
    Object.entries(all).flatMap(([name, value]) => (value === null ? [] : [[name, value]])),
  )
}

function conflict(): ApiError {
  return new ApiError('conflict', 'it has changed since it was read')
}

/** A write that was sent, and whose answer never came. */
export function unanswered(): ApiError {
  return new ApiError('timeout', 'the API server did not answer', { mayHaveCommitted: true })
}

export function forbidden(what: string): ApiError {
  return new ApiError('forbidden', `ServiceAccount "team/x" may not ${what}: add the verb to its Role`)
}
