import type { InstallationOptions } from './installation.ts'
import { POSTGRES_IMAGE } from './postgres-image/build.ts'
import { LANGFLOW } from './workload.ts'

/** deploy/production with a LangFlow that is none of ours, on PostgreSQL. */
export const REAL_PRODUCTION: InstallationOptions = {
  base: 'production',
  components: ['postgresql'],
  images: { 'docker.io/library/postgres': POSTGRES_IMAGE },
  workload: LANGFLOW,
}
