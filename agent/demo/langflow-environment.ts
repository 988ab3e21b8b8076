import type { Place } from './gates.ts'

/**
 * What lets several LangFlows run on one machine: each its own port, directory and database. A variable that the user
 * has set stays, but for those that must differ.
 */
export function langflowEnvironment(env: NodeJS.ProcessEnv, { port }: Place, dir: string): NodeJS.ProcessEnv {
  return {
    DO_NOT_TRACK: 'true',
    LANGFLOW_AUTO_LOGIN: 'true',
    LANGFLOW_OPEN_BROWSER: 'false',
    LANGFLOW_DATABASE_URL: `sqlite:///${dir}/langflow.db`,
    ...env,
    LANGFLOW_HOST: '127.0.0.1',
    LANGFLOW_PORT: String(port),
    LANGFLOW_CONFIG_DIR: dir,
  }
}

/** Without this program's own settings, which are for the demo and not for its replicas. */
export function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('LEADER_')))
}
