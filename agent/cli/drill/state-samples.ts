import { randomBytes } from 'node:crypto'
import * as z from 'zod/mini'
import { type LangflowApi, notServed } from './langflow-api.ts'

const VARIABLES = '/api/v1/variables/'
const FILES = '/api/v2/files/'

/** Whether LangFlow still has what it acknowledged: `kept`, `lost`, or `not measured` with the reason. */
export type State = Readonly<Record<'variable' | 'upload', string>>

const Stored = z.looseObject({ id: z.string() })

/** A row in the database and an uploaded file, which a drill stores just before the fault and looks for after the recovery. */
export class StateSamples {
  readonly #api: LangflowApi
  readonly #name = `langflow-leader-drill-${randomBytes(6).toString('hex')}`
  /** The id of each object, or why LangFlow did not acknowledge it, by the path of its kind. */
  readonly #written = new Map<string, { readonly id?: string; readonly refusal?: string }>()

  constructor(api: LangflowApi) {
    this.#api = api
  }

  /** Stores both. The row comes last: it is the write just before the fault. */
  async write(): Promise<void> {
    const form = new FormData()
    form.set('file', new File([JSON.stringify(this.#name)], `${this.#name}.json`))
    await this.#store(FILES, form)
    await this.#store(VARIABLES, { name: this.#name, value: this.#name, type: 'Generic', default_fields: [] })
  }

  /** Rejects with an `OperationError` if LangFlow does not show whether it has an acknowledged object. */
  async read(): Promise<State> {
    return { variable: await this.#outcome(VARIABLES), upload: await this.#outcome(FILES) }
  }

  /** Deletes both. Rejects with an `OperationError` if one may remain. */
  async forget(): Promise<void> {
    let failure: Error | null = null
    for (const [path, { id }] of this.#written)
      if (id !== undefined)
        await this.#api.store('DELETE', `${path}${id}`).catch((error) => {
          failure = error
        })
    if (failure !== null) throw failure
  }

  async #store(path: string, body: object): Promise<void> {
    const answer = await this.#api.store('POST', path, body).catch(({ message }: Error) => message)
    const refusal = typeof answer === 'string' ? answer : `the answer of POST ${path} has no id`
    this.#written.set(path, z.safeParse(Stored, answer).data ?? { refusal })
  }

  async #outcome(path: string): Promise<string> {
    const { id, refusal } = this.#written.get(path) ?? {}
    if (id === undefined) return `not measured: ${refusal}`
    // LangFlow lists an upload even if its file is gone.
    if (path === FILES) return (await this.#api.store('GET', `${path}${id}`)) === this.#name ? 'kept' : 'lost'
    const { data } = z.safeParse(z.array(Stored), await this.#api.store('GET', path))
    if (data === undefined) throw notServed(`the answer of GET ${path} is not a list`)
    return data.some((row) => row.id === id) ? 'kept' : 'lost'
  }
}
