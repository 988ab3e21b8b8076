import { randomBytes } from 'node:crypto'
import * as z from 'zod/mini'
import { DRILL_PREFIX, type LangflowApi, notServed } from './langflow-api.ts'

/** Where LangFlow lists the objects of a kind. Followed by an id, it is the address of one object. */
const PATHS = { variable: '/api/v1/variables/', upload: '/api/v2/files/' } as const
type Kind = keyof typeof PATHS

/** Whether LangFlow still has what it acknowledged: `kept`, `lost`, or `not measured` with the reason. */
export type State = Readonly<Record<Kind, string>>

const Created = z.looseObject({ id: z.string() })
const Listed = z.array(z.looseObject({ id: z.string(), name: z.nullish(z.string()) }))

/** A row in the database and an uploaded file, which a drill stores just before the fault and looks for after the recovery. */
export class StateSamples {
  readonly #api: LangflowApi
  readonly #name = `${DRILL_PREFIX}${randomBytes(6).toString('hex')}`
  /** The written kinds, each with the reason why LangFlow did not acknowledge it. */
  readonly #written = new Map<Kind, string | null>()

  constructor(api: LangflowApi) {
    this.#api = api
  }

  /** Stores both. The row comes last: it is the write just before the fault. */
  async write(): Promise<void> {
    const form = new FormData()
    form.set('file', new File([JSON.stringify(this.#name)], `${this.#name}.json`))
    const row = { name: this.#name, value: this.#name, type: 'Generic', default_fields: [] }
    await this.#store('upload', form)
    await this.#store('variable', row)
  }

  /** Rejects with an `OperationError` if LangFlow does not show whether it has an acknowledged object. */
  async read(): Promise<State> {
    return { variable: await this.#outcome('variable'), upload: await this.#outcome('upload') }
  }

  /** Deletes both, and what earlier drills have left. Rejects with an `OperationError` if an acknowledged object may remain. */
  async forget(): Promise<void> {
    for (const [kind, refusal] of this.#written) {
      const listed = await this.#list(kind).catch((error) => {
        if (refusal === null) throw error
        return []
      })
      for (const { id, name } of listed)
        if (name?.startsWith(DRILL_PREFIX)) await this.#api.store('DELETE', `${PATHS[kind]}${id}`)
    }
  }

  async #store(kind: Kind, body: object): Promise<void> {
    const refusal = await this.#api.store('POST', PATHS[kind], body).then(
      (json) => (z.safeParse(Created, json).success ? null : `the answer of POST ${PATHS[kind]} has no id`),
      ({ message }: Error) => message,
    )
    this.#written.set(kind, refusal)
  }

  async #outcome(kind: Kind): Promise<string> {
    const refusal = this.#written.get(kind) ?? null
    if (refusal !== null) return `not measured: ${refusal}`
    const found = (await this.#list(kind)).find(({ name }) => name === this.#name)
    if (found === undefined) return 'lost'
    if (kind === 'variable') return 'kept'
    // LangFlow lists an upload even if its file is gone.
    const content = await this.#api.store('GET', `${PATHS[kind]}${found.id}`)
    return content === this.#name ? 'kept' : 'lost'
  }

  async #list(kind: Kind) {
    const listed = z.safeParse(Listed, await this.#api.store('GET', PATHS[kind]))
    if (!listed.success) throw notServed(`the answer of ${this.#api.url}${PATHS[kind]} is not a list`)
    return listed.data
  }
}
