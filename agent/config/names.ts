import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { isAbsolute, normalize } from 'node:path'

const LABEL = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/

/** A Lease's name: a DNS subdomain (RFC 1123), as Kubernetes demands. Throws an Error that says what to change. */
export function parseObjectName(text: string): string {
  if (text.length > 253 || !text.split('.').every((part) => LABEL.test(part))) {
    throw new Error(
      'use at most 253 lower-case letters, digits, - and ., with a letter or digit at both ends, such as langflow-leader-lock',
    )
  }
  return text
}

/** A namespace: a DNS label (RFC 1123). Throws an Error that says what to change. */
export function parseNamespace(text: string): string {
  if (text.length > 63 || !LABEL.test(text)) {
    throw new Error(
      'use at most 63 lower-case letters, digits and -, with a letter or digit at both ends, such as langflow',
    )
  }
  return text
}

/** `holderIdentity`: what the Lease is to show. Throws an Error that says what to change. */
export function parseIdentity(text: string): string {
  if (!/^[\x21-\x7e]{1,512}$/.test(text)) {
    throw new Error('use 1 to 512 printable ASCII characters without spaces, such as langflow-0_3f1c')
  }
  return text
}

/** A file or directory by its absolute path, normalised. Throws an Error that says what to change. */
export function parsePath(text: string): string {
  if (!isAbsolute(text) || text.includes('\0'))
    throw new Error('use an absolute path, such as /run/langflow-leader')
  return normalize(text)
}

/** `sun_path` in Linux's `sockaddr_un` holds 108 bytes, one of them the final NUL. */
const LONGEST_SOCKET_PATH = 107

/** A unix socket's path. Throws an Error that says what to change. */
export function parseSocket(text: string): string {
  const path = parsePath(text)
  if (Buffer.byteLength(path) > LONGEST_SOCKET_PATH) {
    throw new Error(
      `a unix socket's path has at most ${LONGEST_SOCKET_PATH} bytes; this one has ${Buffer.byteLength(path)}`,
    )
  }
  return path
}

/**
 * Who this replica is where `--identity` does not say: the pod by name and UID, so that two pods never share one and
 * a restarted agent in the same pod has the same; outside a pod, one of its own for each process. Throws an Error
 * where the pod says only half of it.
 */
export function defaultIdentity(env: NodeJS.ProcessEnv): string {
  const { POD_NAME: name = '', POD_UID: uid = '' } = env
  if (name !== '' && uid !== '') return parseIdentity(`${name}_${uid}`)
  if (name !== '') throw new Error(missing('POD_NAME', 'POD_UID', 'metadata.uid'))
  if (uid !== '') throw new Error(missing('POD_UID', 'POD_NAME', 'metadata.name'))
  return `${hostname()}_${randomUUID()}`
}

function missing(present: string, absent: string, field: string): string {
  return `${present} is set but ${absent} is not: add ${absent} to the container's env with valueFrom.fieldRef.fieldPath ${field}, or set --identity`
}
