import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { stringify } from 'yaml'
import { DEPLOY, type Manifest, manifestsIn } from './manifests.ts'

const run = promisify(execFile)

/** The folders of deploy/ that a user's kustomization.yaml names. */
export interface Overlay {
  readonly resources: readonly string[]
  readonly components?: readonly string[]
}

export interface Built {
  readonly text: string
  readonly manifests: Manifest[]
}

/** Runs `kubectl kustomize` on an overlay outside deploy/. Rejects with the error of kubectl. */
export async function build(kubectl: string, { resources, components = [] }: Overlay): Promise<Built> {
  const directory = mkdtempSync(join(tmpdir(), 'overlay-'))
  const from = (folder: string) => relative(directory, join(DEPLOY, folder))
  try {
    writeFileSync(
      join(directory, 'kustomization.yaml'),
      stringify({
        apiVersion: 'kustomize.config.k8s.io/v1beta1',
        kind: 'Kustomization',
        resources: resources.map(from),
        components: components.map(from),
      }),
    )
    const { stdout: text } = await run(kubectl, ['kustomize', directory], { maxBuffer: 2 ** 24 })
    return { text, manifests: manifestsIn(text) }
  } finally {
    rmSync(directory, { recursive: true })
  }
}
