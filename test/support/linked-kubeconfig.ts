import { readFileSync, writeFileSync } from 'node:fs'

/**
 * Writes a kubeconfig to `file` like the one in `from`, but with the API server on this port of 127.0.0.1, and returns
 * `file`. `user`: whose credentials instead.
 */
export function linkedKubeconfig(from: string, port: number, file: string, user?: object): string {
  const config = JSON.parse(readFileSync(from, 'utf8'))
  config.clusters[0].cluster.server = `https://127.0.0.1:${port}`
  if (user !== undefined) config.users[0].user = user
  writeFileSync(file, JSON.stringify(config))
  return file
}
