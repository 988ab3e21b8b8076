import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './free-port.ts'
import { Guard, ServerProcess } from './server-process.ts'

/** moto's S3 server; `undefined` if MOTO_SERVER does not name it. */
export const motoServer = () => process.env.MOTO_SERVER
export const MOTO_MISSING =
  'no S3 server: set MOTO_SERVER to the moto_server program (pip install "moto[server]" in a venv)'

/** An S3 server on loopback with one bucket. Its objects are in its memory. */
export class S3 {
  readonly bucket = 'langflow'
  readonly url: string
  readonly #server: ServerProcess
  readonly #guard: Guard

  private constructor(url: string, server: ServerProcess, guard: Guard) {
    this.url = url
    this.#server = server
    this.#guard = guard
  }

  static async start(): Promise<S3> {
    const program = motoServer()
    if (program === undefined || !existsSync(program)) throw new Error(MOTO_MISSING)
    const port = await freePort()
    const dir = mkdtempSync(join(tmpdir(), 's3-'))
    const guard = new Guard(dir)
    const server = new ServerProcess(program, ['--host=127.0.0.1', `--port=${port}`], join(dir, 'log'))
    guard.watch([server])
    const s3 = new S3(`http://127.0.0.1:${port}`, server, guard)
    await server
      .ready('moto', () => s3.#put(''))
      .catch(async (error) => {
        await s3.close()
        throw error
      })
    return s3
  }

  /** LangFlow's settings for it. The AWS library reads all but the first two. */
  get environment(): NodeJS.ProcessEnv {
    return {
      LANGFLOW_STORAGE_TYPE: 's3',
      LANGFLOW_OBJECT_STORAGE_BUCKET_NAME: this.bucket,
      AWS_ENDPOINT_URL_S3: this.url,
      AWS_DEFAULT_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
    }
  }

  /** Copies a file into the bucket. */
  async put(key: string, content: Uint8Array<ArrayBuffer>): Promise<void> {
    if (!(await this.#put(`/${key}`, content))) throw new Error(`moto refuses ${key}`)
  }

  async close(): Promise<void> {
    await this.#server.stop()
    await this.#guard.close()
  }

  /** Without a key, it creates the bucket. */
  async #put(path: string, body: Uint8Array<ArrayBuffer> | null = null): Promise<boolean> {
    const authorization = 'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request'
    const url = `${this.url}/${this.bucket}${path}`
    return (await fetch(url, { method: 'PUT', headers: { authorization }, body })).ok
  }
}
