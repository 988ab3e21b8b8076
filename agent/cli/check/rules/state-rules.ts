import { asList, dig } from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { HIDDEN, isOfPod, isSet, valueIn } from '../container-environment.ts'
import {
  DATABASE_URL,
  databaseOf,
  isLocal,
  isSameDatabase,
  sharedClaim,
  sharedVolumeAt,
  sqliteFile,
  urlOf,
} from '../database-identity.ts'
import { containersOf, type Installation, placeOf, programOf } from '../installation.ts'
import { isInstalled, type Rule, type Said } from '../rule.ts'
import { isSameLease } from './lease-rules.ts'

const ONE_POSTGRESQL = `set ${DATABASE_URL} to one PostgreSQL for all replicas`

/** Names and images of proxies to a database. */
const PROXY = /proxy|pgbouncer|pgpool|pgcat|odyssey/i

/** Whether all replicas share LangFlow's state, and no other LangFlow acts on it. */
export const STATE_RULES: readonly Rule<Installation>[] = [
  {
    code: 'database-shared',
    severity: 'error',
    about: 'all replicas use the same database',
    breaks: 'A new leader has none of the flows, users and messages of the last one.',
    fix: `Set ${DATABASE_URL} to one PostgreSQL for all replicas.`,
    applies: mayHaveSeveral,
    *find(one) {
      const { env } = one
      const url = urlOf(one)
      if (url !== null && !url.includes(HIDDEN) && !/^[a-z][a-z\d+]*:\/\//i.test(url))
        yield `its ${DATABASE_URL} is not a URL, so LangFlow exits at its start: set it to postgresql://USER:PASSWORD@HOST/DATABASE, encoded only once in a Secret`
      if (url !== null && isLocal(url)) yield* inPod(one)
      if (url !== null && isOfPod(url))
        yield `each of its replicas has its own database, because ${DATABASE_URL} depends on the pod: ${ONE_POSTGRESQL}`
      if (url !== null && !/^sqlite/i.test(url)) return
      const volume = sharedVolumeAt(one, sqliteFile(one, url))
      if (volume !== null)
        yield {
          warning: `its replicas share one SQLite file on the ${volume}, whose locks are unreliable on a network file system, so a takeover may damage it: ${ONE_POSTGRESQL}`,
        }
      else if (url !== null)
        yield `each of its replicas has its own SQLite database (${DATABASE_URL}), so a new leader does not have the flows: ${ONE_POSTGRESQL}`
      else if (isSet(env, 'LANGFLOW_LOAD_FLOWS_PATH'))
        yield {
          warning: `its flows come from files, but each pod has its own SQLite database, so a new leader does not have the messages, users and stored keys: ${ONE_POSTGRESQL}, unless you need none of these`,
        }
      else
        yield `each of its replicas has its own SQLite database, so a new leader does not have the flows: ${ONE_POSTGRESQL}`
    },
  },
  {
    code: 'database-exclusive',
    severity: 'error',
    about: 'no LangFlow of another Lease uses its database',
    breaks:
      'Each Lease has a leader of its own, so two LangFlows act on one database: they run the same schedules twice and overwrite each other.',
    fix: 'Give each Lease a database of its own, or let all replicas compete for one Lease.',
    *find(one, { all }) {
      for (const other of all.slice(0, all.indexOf(one))) {
        // A LangFlow without an agent is an error of its own.
        if (!isInstalled(one) || !isInstalled(other) || isSameLease(one, other)) continue
        const [own, theirs] = [databaseOf(one), databaseOf(other)]
        if (own === null || theirs === null || !isSameDatabase(own, theirs)) continue
        yield `it uses the database of ${placeOf(other)}, which competes for another Lease (${other.agent.options.leaseName}), so both act on it at the same time: use another database`
      }
    },
  },
  {
    code: 'local-files',
    severity: 'warning',
    about: 'a new leader has the files that users uploaded',
    breaks: 'A new leader lists the uploads, and cannot read them.',
    fix: 'Set LANGFLOW_STORAGE_TYPE to s3, or mount one ReadWriteMany volume at LANGFLOW_CONFIG_DIR in all replicas. If no user uploads files, accept the warning.',
    applies: mayHaveSeveral,
    *find(one) {
      const { env } = one
      if ((valueIn(env, 'LANGFLOW_STORAGE_TYPE') ?? 'local') !== 'local') return
      // Without a database, the replicas share nothing, which another rule reports.
      if (!isSet(env, DATABASE_URL)) return
      // The rule volume-shared checks whether all replicas can mount the claim.
      if (sharedVolumeAt(one, valueIn(env, 'LANGFLOW_CONFIG_DIR') ?? '') !== null) return
      yield 'files that users upload stay in the pod of the leader at that time: set LANGFLOW_STORAGE_TYPE to s3, or mount one ReadWriteMany volume at LANGFLOW_CONFIG_DIR, unless no user uploads any'
    },
  },
  {
    code: 'volume-shared',
    severity: 'error',
    about: 'every replica can mount its volumes',
    breaks: 'A second replica never starts, so none can take over.',
    fix: 'Use a claim with ReadWriteMany. If LangFlow uses PostgreSQL and S3, remove the claim.',
    applies: mayHaveSeveral,
    *find({ manifest, spec, pod }, { manifests, cluster }) {
      for (const volume of asList(pod.volumes)) {
        const claim = sharedClaim(spec, volume)
        if (claim === null) continue
        const found = manifests.find(
          (one) =>
            one.kind === 'PersistentVolumeClaim' && one.name === claim && inOneNamespace(one, manifest),
        )
        const modes = asList(dig(found?.value, 'spec', 'accessModes'))
        if (found === undefined)
          yield {
            unknown:
              cluster?.hidden.get('PersistentVolumeClaim') ??
              `the PersistentVolumeClaim ${claim} is not among the known objects`,
          }
        else if (!modes.some((mode) => mode === 'ReadWriteMany' || mode === 'ReadOnlyMany'))
          yield `its replicas share the claim ${claim}, which only one ${modes.includes('ReadWriteOncePod') ? 'pod' : 'node'} can mount (${modes.join(', ')}), so a second replica never starts: use a ReadWriteMany claim, or remove the claim if LangFlow uses PostgreSQL`
      }
    },
  },
]

/** The database is in the pod itself, unless another container of the pod is a proxy. */
function* inPod({ pod, agent, langflow }: Installation): Generator<Said> {
  const others = containersOf(pod).filter(
    (one) => one !== langflow && one !== agent?.container && programOf(one) === null,
  )
  const names = others.map(({ name }) => name).join(' or ')
  if (names === '')
    yield `its ${DATABASE_URL} leads to the pod itself, so each replica has its own database: ${ONE_POSTGRESQL}`
  else if (!others.some(({ name, image }) => PROXY.test(`${name} ${image}`)))
    yield {
      unknown: `its ${DATABASE_URL} leads to the pod itself, and the container ${names} may be a proxy or a database`,
    }
}

function mayHaveSeveral({ scale }: Installation): boolean {
  return scale.most > 1
}
