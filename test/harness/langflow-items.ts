import assert from 'node:assert/strict'
import { API_KEY } from './langflow.ts'

/** Some answers take seconds on a busy machine. */
const ANSWER_WITHIN_MS = 60_000

interface Json {
  readonly id: string
  readonly name: string
  readonly value: string
  readonly text: string
  readonly endpoint_name: string
  readonly access_token: string
  readonly api_key: string
  readonly job_id: string
}

export class LangflowUser {
  readonly #url: string
  readonly #headers: object

  constructor(url: string, headers: object = { 'x-api-key': API_KEY }) {
    this.#url = url
    this.#headers = headers
  }

  ask(method: string, path: string, body?: object, headers = this.#headers) {
    const isForm = body instanceof FormData || body instanceof URLSearchParams
    const type = body && !isForm ? { 'content-type': 'application/json' } : {}
    const content = isForm ? body : (body && JSON.stringify(body)) || null
    const signal = AbortSignal.timeout(ANSWER_WITHIN_MS)
    return fetch(`${this.#url}${path}`, { method, headers: { ...headers, ...type }, body: content, signal })
  }

  async status(path: string, headers?: object): Promise<number> {
    const response = await this.ask('GET', path, undefined, headers)
    await response.body?.cancel()
    return response.status
  }

  async text(path: string): Promise<string> {
    return (await this.ask('GET', path)).text()
  }

  async list(path: string): Promise<Json[]> {
    return (await accepted(await this.ask('GET', path))) as Json[]
  }

  async make(path: string, body: object): Promise<Json> {
    return (await accepted(await this.ask('POST', path, body))) as Json
  }
}

async function accepted(response: Response): Promise<unknown> {
  const text = await response.text()
  assert.ok(response.ok, `${response.url}: ${response.status} ${text.slice(0, 500)}`)
  return JSON.parse(text)
}

const TEXT = 'acknowledged before the takeover'

function fileForm(name: string): FormData {
  const form = new FormData()
  form.set('file', new File([TEXT], name))
  return form
}

const newFlow = (name: string) => ({ name, data: { nodes: [], edges: [] } })

async function flowAt(user: LangflowUser, endpoint: string): Promise<string | undefined> {
  const flows = await user.list('/api/v1/flows/?get_all=true&header_flows=true')
  return flows.find(({ endpoint_name }) => endpoint_name === endpoint)?.id
}

interface Kind {
  make(user: LangflowUser, name: string): Promise<Json>
  isThere(user: LangflowUser, made: Json, name: string): Promise<boolean>
}

const KINDS = {
  flow: {
    make: (user, name) => user.make('/api/v1/flows/', newFlow(name)),
    isThere: async (user, { id }, name) => (await user.text(`/api/v1/flows/${id}`)).includes(`"${name}"`),
  },
  variable: {
    make: (user, name) => {
      const variable = { name, value: TEXT, type: 'Generic', default_fields: [] }
      return user.make('/api/v1/variables/', variable)
    },
    isThere: async (user, made) =>
      (await user.list('/api/v1/variables/')).some(({ id, value }) => id === made.id && value === TEXT),
  },
  login: {
    make: (user) => {
      const credentials = { username: 'admin', password: 'e2e-password' }
      return user.make('/api/v1/login', new URLSearchParams(credentials))
    },
    isThere: async (user, made) => {
      const authorization = `Bearer ${made.access_token}`
      return (await user.status('/api/v1/users/whoami', { authorization })) === 200
    },
  },
  'chat history': {
    make: (user, name) => {
      const message = { input_value: TEXT, input_type: 'chat', output_type: 'chat', session_id: name }
      return user.make('/api/v1/run/echo?stream=false', message)
    },
    isThere: async (user, _, name) =>
      (await user.list(`/api/v1/monitor/messages?session_id=${name}`)).some(({ text }) => text === TEXT),
  },
  upload: {
    make: (user, name) => user.make('/api/v2/files/', fileForm(`${name}.txt`)),
    isThere: async (user, { id }) => (await user.text(`/api/v2/files/${id}`)) === TEXT,
  },
  /** Without an embedding model there is no vector to store, but their store exists, and LangFlow reads it. */
  'knowledge base vectors': {
    make: (user, name) => {
      const embedding = { embedding_provider: 'OpenAI', embedding_model: 'text-embedding-3-small' }
      return user.make('/api/v1/knowledge_bases/', { name, ...embedding })
    },
    isThere: async (user, _, name) => (await user.status(`/api/v1/knowledge_bases/${name}/chunks`)) === 200,
  },
  /** LangFlow still lists it, as failed. */
  'background run under way': {
    async make(user) {
      const flow_id = await flowAt(user, 'hold')
      return user.make('/api/v2/workflows', { flow_id, mode: 'background', input_value: 'hold=3600' })
    },
    isThere: async (user, made) =>
      !(await user.text(`/api/v2/workflows?job_id=${made.job_id}`)).includes('"JOB_FAILED"'),
  },
} as const satisfies Record<string, Kind>

export type ItemName = keyof typeof KINDS

const NAMES = Object.keys(KINDS) as ItemName[]

export class LangflowItems {
  readonly #name: string
  readonly #made = new Map<ItemName, Json>()

  private constructor(name: string) {
    this.#name = name
  }

  static async make(user: LangflowUser, name: string): Promise<LangflowItems> {
    const items = new LangflowItems(name)
    for (const kind of NAMES) items.#made.set(kind, await (KINDS[kind] as Kind).make(user, name))
    return items
  }

  async missing(user: LangflowUser): Promise<ItemName[]> {
    const missing: ItemName[] = []
    for (const [kind, made] of this.#made)
      if (!(await (KINDS[kind] as Kind).isThere(user, made, this.#name))) missing.push(kind)
    return missing
  }
}
