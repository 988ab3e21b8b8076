import { randomBytes } from 'node:crypto'
import * as z from 'zod/mini'
import { type LangflowApi, notServed } from './langflow-api.ts'

const VARIABLES = '/api/v1/variables/'
const FILES = '/api/v2/files/'

/** Whether LangFlow still has what it acknowledged: `kept`, `lost`, or `not measured` with the reason. */
export interface State {
  readonly variable: string
  readonly upload: string
}

const Stored = z.looseObject({ id: z.string() })

/** A row in the database and an uploaded file, which a drill stores just before the fault and looks for after the recovery. */
export class StateSamples {
  readonly #api: LangflowApi
  readonly #name = `langflow-leader-drill-${randomBytes(6).toString('hex')}`
  /** The ids of the acknowledged objects, and the reasons why others were not acknowledged, by the paths of their kinds. */
  readonly #ids = new Map<string, string>()
  readonly #refusals = new Map<string, string>()

  constructor(api: LangflowApi) {
    this.#api = api
  }

  /** Stores both. The row comes last: it is the write just before the fault. */
  async write(): Promise<void> {
    const form = new FormData()
    form.set('file', new File([JSON.stringify(this.#name)], `${this.#name}.json`))
    const row = { name: this.#name, value: this.#name, type: 'Generic', default_fields: [] }
    for (const [path, body] of [
      [FILES, form],
      [VARIABLES, row],
    ] as const) {
      const answer = await this.#api.store('POST', path, body).catch(({ message }: Error) => message)
      const { data } = z.safeParse(Stored, answer)
      if (data !== undefined) this.#ids.set(path, data.id)
      else
        this.#refusals.set(path, typeof answer === 'string' ? answer : `the answer of POST ${path} has no id`)
    }
  }

  /** Rejects with an `OperationError` if LangFlow does not show whether it has an acknowledged object. */
  async read(): Promise<State> {
    return {
      variable: await this.#outcome(VARIABLES, async (id) => {
        const { data } = z.safeParse(z.array(Stored), await this.#api.store('GET', VARIABLES))
        if (data === undefined) throw notServed(`the answer of GET ${VARIABLES} is not a list`)
        return data.some((row) => row.id === id)
      }),
      // LangFlow lists an upload even if its file is gone.
      upload: await this.#outcome(
        FILES,
        async (id) => (await this.#api.store('GET', `${FILES}${id}`)) === this.#name,
      ),
    }
  }

  /** Deletes both. Rejects with an `OperationError` if one may remain. */
  async forget(): Promise<void> {
    for (const [path, id] of this.#ids) await this.#api.store('DELETE', `${path}${id}`)
  }

  async #outcome(path: string, isKept: (id: string) => Promise<boolean>): Promise<string> {
    const id = this.#ids.get(path)
    if (id === undefined) return `not measured: ${this.#refusals.get(path)}`
    return (await isKept(id)) ? 'kept' : 'lost'
  }
}
