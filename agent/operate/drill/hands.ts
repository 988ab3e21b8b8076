import { ApiError } from '../../kube/errors.ts'
import { type Executed, type KubeObject, type KubeObjects, POD } from '../../kube/objects.ts'
import { asOperationError, OperationError } from '../exit-codes.ts'

/** How long one request, and one command in a container, may take, in milliseconds. */
const DEADLINE_MS = 5_000
const COMMAND_MS = 15_000

/** What a drill does to pods, with the rights of whoever runs it. All rejections are `OperationError`. */
export interface Hands {
  pod(name: string): Promise<KubeObject>
  /** Deletes this very pod, as `kubectl delete pod` does. `rehearsal`: asks whether that would be allowed. */
  remove(pod: KubeObject, rehearsal: boolean): Promise<void>
  /** Runs a command in one of its containers. */
  execute(pod: string, container: string, command: readonly string[]): Promise<Executed>
}

export function handsOn(objects: Pick<KubeObjects, 'get' | 'delete' | 'execute'>): Hands {
  return {
    pod: (name) => objects.get(POD, name, DEADLINE_MS).catch(rethrow),
    remove: (pod, rehearsal) => objects.delete(POD, pod, DEADLINE_MS, rehearsal).catch(rethrow),
    execute: (pod, container, command) =>
      objects.execute(pod, container, command, COMMAND_MS).catch((error) => {
        if (error instanceof ApiError && [404, 405, 501].includes(error.status ?? 0))
          throw new OperationError(
            'impossible',
            'this API server runs no commands in pods, which a crash needs: drill --scenario switchover instead',
          )
        return rethrow(error)
      }),
  }
}

function rethrow(error: unknown): never {
  throw asOperationError(error)
}
