import type { Installation, InstallationOptions } from './installation.ts'
import { POSTGRES_IMAGE } from './postgres-image/build.ts'
import { quickStart } from './quick-start.ts'
import { LANGFLOW } from './workload.ts'

/** deploy/production with a LangFlow that is none of ours, on PostgreSQL. */
export const REAL_PRODUCTION: InstallationOptions = {
  base: 'production',
  components: ['postgresql'],
  images: { 'docker.io/library/postgres': POSTGRES_IMAGE },
  workload: LANGFLOW,
}

/** The same, installed as README says. */
export const QUICK_START: InstallationOptions = {
  base: 'production',
  workload: { ...LANGFLOW, prepare: (manifests) => [...manifests] },
  adopt: quickStart,
}

export interface Request {
  readonly method?: 'GET' | 'POST'
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON, or as a form. */
  readonly body?: object | URLSearchParams
}

/** Asks LangFlow through the Service. Rejects with what it answers where that is no success. */
export async function ask<T>({ url }: Installation, path: string, request: Request = {}): Promise<T> {
  const { method = 'GET', headers = {}, body } = request
  const isForm = body instanceof URLSearchParams
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { ...(isForm ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: isForm ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 500)}`)
  return JSON.parse(text) as T
}
