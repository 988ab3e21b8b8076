import { dirname } from 'node:path'
import {
  asFields,
  asList,
  asNumber,
  asText,
  dig,
  type Fields,
  type Manifest,
} from '../../manifests/manifest.ts'
import { PROGRAM_DIR, TOKEN_DIR } from '../../manifests/pod-spec.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { valueIn } from '../container-environment.ts'
import {
  accountOf,
  containersOf,
  type Installation,
  mountAt,
  mountsOf,
  programOf,
  volumeOf,
} from '../installation.ts'
import { bytesOf } from '../quantity.ts'
import { type Installed, type Rule, type Said, Unseen } from '../rule.ts'
import { isBeside } from './probe-rules.ts'

/** Whether agent and launcher have their files, and flows cannot use the agent's files and token. */
export const MOUNT_RULES: readonly Rule<Installed>[] = [
  {
    code: 'program-installed',
    severity: 'error',
    about: 'an init container installs the program that LangFlow starts with',
    breaks: 'LangFlow never starts, because its container has no launcher, or the volume has no room for it.',
    fix: 'Add the init container install with the arguments install and the directory of the program, on the volume that LangFlow mounts there: an emptyDir without sizeLimit and medium.',
    applies: isBeside,
    *find({ pod, langflow, container }) {
      const installs = asList(pod.initContainers)
        .map(asFields)
        .filter((one) => programOf(one)?.command === 'install')
      const programDir = programDirOf(langflow)
      const mount = mountAt(langflow, programDir)
      if (mount !== null && 'image' in volumeOf(pod, mount.volume)) return
      if (mount === null && installs.length === 0)
        throw new Unseen(`no volume has the program, unless the image of the container ${container} has it`)
      const fills = installs.some((one) => {
        const directory = programOf(one)?.args[0]?.replace(/\/+$/, '') ?? ''
        const target = mountAt(one, directory)
        const isSame = target?.volume === mount?.volume && target?.subPath === mount?.subPath
        return isSame && target?.path === directory && !target.readOnly
      })
      if (mount === null)
        yield `its container ${container} does not mount the program that install copies: mount that volume at ${programDir}`
      else if (!fills)
        yield `no init container installs the program into the volume ${mount.volume}, which its container ${container} mounts at ${mount.path}: add the container install with the arguments install and ${programDir}, and mount that volume there, not readOnly`
      else yield* lackOfRoom(pod, mount.volume, installs)
    },
  },
  {
    code: 'langflow-files',
    severity: 'error',
    about: 'LangFlow has a place for its files',
    breaks: 'LangFlow exits at its start, because it cannot write its files.',
    fix: 'Mount a volume at LANGFLOW_CONFIG_DIR and one at /tmp, or remove readOnlyRootFilesystem.',
    applies: ({ langflow }) => dig(langflow, 'securityContext', 'readOnlyRootFilesystem') === true,
    *find({ pod, langflow, env, container }) {
      const isWritable = (path: string) => {
        const mount = mountAt(langflow, path)
        const volume = volumeOf(pod, mount?.volume)
        return mount !== null && !mount.readOnly && !('configMap' in volume) && !('secret' in volume)
      }
      const temporary = ['TMPDIR', 'TEMP', 'TMP'].map((name) => env.values[name] ?? '').filter(Boolean)
      const directory = asText(langflow.workingDir) || '/app'
      if (![...temporary, '/tmp', '/var/tmp', '/usr/tmp', directory].some(isWritable))
        yield {
          warning: `the root of its container ${container} is read-only, and no volume is mounted at /tmp, so LangFlow may find no directory for temporary files: mount an emptyDir at /tmp`,
        }
      const config = env.values.LANGFLOW_CONFIG_DIR
      if (config && !isWritable(config.replace(/\/+$/, '')) && valueIn(env, 'LANGFLOW_CONFIG_DIR') === config)
        yield `the root of its container ${container} is read-only, and no writable volume is mounted at ${config} (LANGFLOW_CONFIG_DIR), so LangFlow exits at its start: mount a volume there`
    },
  },
  {
    code: 'agent-socket',
    severity: 'error',
    about: 'agent and launcher share the directory of their socket',
    breaks: 'The launcher never gets a grant, so LangFlow never starts.',
    fix: 'Mount one emptyDir at the directory of --socket in both containers.',
    applies: isBeside,
    *find(one) {
      const { agent, launcher, langflow, container } = one
      if (launcher?.options == null) return
      const [own, theirs] = [agent.options.socket, launcher.options.socket]
      const [here, there] = [mountAt(agent.container, dirname(own)), mountAt(langflow, dirname(theirs))]
      if (here === null || there === null || here.volume !== there.volume || here.subPath !== there.subPath)
        yield `its agent listens on ${own} and the launcher in container ${container} connects to ${theirs}, which is in another directory: mount the same emptyDir in both, at ${dirname(own)} and without subPath`
      else if (here.readOnly)
        yield `its agent mounts the directory of the socket readOnly, so it cannot listen: remove readOnly from that mount`
      else if (!isOwn(one.pod, here.volume))
        yield `its socket is on the volume ${here.volume}, which other pods may share: use an emptyDir`
      else if (own.slice(here.path.length) !== theirs.slice(there.path.length))
        yield `its agent listens on ${own} and the launcher in container ${container} connects to ${theirs}: set the same --socket for both`
    },
  },
  {
    code: 'langflow-mounts',
    severity: 'error',
    about: "no flow can write the agent's files",
    breaks:
      'A flow can replace the program or the socket, or pose as the launcher. Then nothing ends its processes when the grant ends.',
    fix: "Mount the directories of program and socket readOnly in LangFlow's container, and the agent's state only in the agent.",
    applies: isBeside,
    *find({ agent, launcher, langflow, pod, container }) {
      const socketDir = launcher?.options == null ? null : dirname(launcher.options.socket)
      const dirs = [programDirOf(langflow), ...(socketDir === null ? [] : [socketDir])]
      const volumes = dirs.map((dir) => mountAt(langflow, dir)?.volume)
      for (const mount of mountsOf(langflow))
        if (volumes.includes(mount.volume) && !mount.readOnly)
          yield `its container ${container} mounts ${mount.path} writable, so a flow can replace its files: mount it readOnly`
      const state = mountAt(agent.container, agent.options.stateDir)
      if (state === null)
        yield {
          warning: `its agent has no volume at ${agent.options.stateDir} (--state-dir), so the term ends if the agent restarts: mount an emptyDir only in the agent`,
        }
      else if (!isOwn(pod, state.volume))
        yield `its agents have their state on the volume ${state.volume}, which other pods may share, so they take over each other's terms: use an emptyDir`
      for (const other of containersOf(pod))
        if (state !== null && other !== agent.container && mounts(other, state.volume))
          yield `its container ${other.name} mounts the agent's state (the volume ${state.volume}), so it can pose as the launcher: mount the volume only in the agent`
    },
  },
  {
    code: 'agent-user',
    severity: 'error',
    about: 'agent and launcher have the permissions to use one socket',
    breaks: 'The launcher cannot connect to the agent, so LangFlow never starts.',
    fix: 'Set the same runAsUser for both containers, or an fsGroup for the pod.',
    applies: isBeside,
    *find({ agent, langflow, pod, container }) {
      const [own, theirs] = [userOf(pod, agent.container), userOf(pod, langflow)]
      const shared = asFields(pod.securityContext)
      if (shared.fsGroup !== undefined || asList(shared.supplementalGroups).length > 0) return
      if (own.user === null || theirs.user === null || own.user === theirs.user) return
      if (own.group !== null && own.group === theirs.group) return
      yield `its agent runs as user ${own.user} and its container ${container} as ${theirs.user}, without a common group, so the launcher cannot connect: set the same runAsUser for both, or an fsGroup for the pod`
    },
  },
  {
    code: 'mounted-files',
    severity: 'error',
    about: 'volumes have the files that the flags name',
    breaks: 'A missing file stops the program that reads it, or its changes are never seen.',
    fix: 'Mount a volume with the file, without subPath, in the container that reads it.',
    *find(one, { manifests }) {
      const { agent, launcher, langflow } = one
      if (agent.options.kubeconfig !== null)
        yield* fileFaults(
          agent.options.kubeconfig,
          { one, container: agent.container, isOurs: true },
          manifests,
        )
      if (launcher?.options == null) return
      for (const path of [...launcher.options.envFile, ...launcher.options.handoverOnChange])
        yield* fileFaults(path, { one, container: langflow, isOurs: false }, manifests)
    },
  },
  {
    code: 'agent-token',
    severity: 'error',
    about: 'the agent has a token for the API server',
    breaks: 'The agent cannot read or write the Lease, so the replica never leads.',
    fix: "Mount a projected serviceAccountToken at /var/run/secrets/kubernetes.io/serviceaccount in the agent's container.",
    *find(one, { manifests }) {
      const { agent, pod } = one
      if (agent.options.kubeconfig !== null || automounts(one, manifests)) return
      const volume = volumeOf(pod, mountAt(agent.container, TOKEN_DIR)?.volume)
      const secret = dig(volume, 'secret', 'secretName')
      if (secret !== undefined)
        yield { unknown: `the token comes from Secret/${secret}, which check does not read` }
      else if (!hasToken(volume))
        yield `its agent has no token for the API server: mount a projected serviceAccountToken at ${TOKEN_DIR} in the container ${agent.container.name}`
      else yield* tokenFaults(asList(dig(volume, 'projected', 'sources')))
    },
  },
  {
    code: 'token-beside-flows',
    severity: 'error',
    about: "no flow can read the agent's token",
    breaks: 'A flow can write the Lease, and so make two replicas act.',
    fix: 'Set automountServiceAccountToken to false, and mount a projected token only in the agent.',
    applies: isBeside,
    *find(one, { manifests, cluster }) {
      const { pod, langflow, container } = one
      const hidden = cluster?.hidden.get('ServiceAccount')
      if (pod.automountServiceAccountToken === undefined && hidden !== undefined) yield { unknown: hidden }
      else if (automounts(one, manifests))
        yield `its container ${container} has the token of the agent's account, so a flow can write the Lease: set automountServiceAccountToken: false, and mount a projected token only in the agent`
      for (const volume of asList(pod.volumes).filter((one) => opensApiServer(one, manifests)))
        if (mounts(langflow, dig(volume, 'name')))
          yield `its container ${container} mounts a token (the volume ${dig(volume, 'name')}), so a flow can write the Lease: mount the volume only in the agent`
    },
  },
]

/** Less than the size of Node alone, in bytes. */
const PROGRAM_BYTES = 100 * 1024 ** 2

/** Limits of the volume below the size of the installed files. */
function* lackOfRoom(pod: Fields, name: string, installs: readonly Readonly<Fields>[]): Generator<string> {
  const { sizeLimit, medium } = asFields(volumeOf(pod, name).emptyDir)
  if ((bytesOf(sizeLimit) ?? PROGRAM_BYTES) < PROGRAM_BYTES)
    yield `the sizeLimit of its volume ${name} (${sizeLimit}) is below the size of the program, so the kubelet evicts the pod: remove sizeLimit, or set it to 512Mi`
  const limits = installs.map((one) => bytesOf(dig(one, 'resources', 'limits', 'memory')))
  // The files in memory count as memory of the container that writes them.
  if (medium === 'Memory' && limits.some((limit) => (limit ?? Infinity) < 1.5 * PROGRAM_BYTES))
    yield `its volume ${name} is in memory, and the memory limit of the container install is below the size of the program, so the kernel kills install: remove medium: Memory`
}

/** The directory of the program with which LangFlow's container starts. */
function programDirOf({ command, args }: Fields): string {
  const words = [...asList(command), ...asList(args)].map(asText)
  const program = words.find((word) => word.endsWith('/langflow-leader.mjs'))
  return program === undefined ? PROGRAM_DIR : dirname(program)
}

function userOf(pod: Fields, container: Fields) {
  const own = { ...asFields(pod.securityContext), ...asFields(container.securityContext) }
  return { user: asNumber(own.runAsUser), group: asNumber(own.runAsGroup) }
}

/** Whether the token of the account is mounted into every container. */
function automounts(installation: Installation, manifests: readonly Manifest[]): boolean {
  const { pod, manifest } = installation
  const name = accountOf(installation)
  const account = manifests.find(
    (one) => one.kind === 'ServiceAccount' && one.name === name && inOneNamespace(one, manifest),
  )
  return (pod.automountServiceAccountToken ?? account?.value.automountServiceAccountToken) !== false
}

/** Whether a volume holds a token of the pod's account. */
function hasToken(volume: unknown): boolean {
  return asList(dig(volume, 'projected', 'sources')).some(
    (source) => 'serviceAccountToken' in asFields(source),
  )
}

/** Whether a volume holds a token that the API server accepts. A token for another audience is for a cloud or a vault. */
function opensApiServer(volume: unknown, manifests: readonly Manifest[]): boolean {
  const name = dig(volume, 'secret', 'secretName')
  const isToken = ({ kind, value, ...one }: Manifest) =>
    kind === 'Secret' && one.name === name && value.type === 'kubernetes.io/service-account-token'
  if (name !== undefined && manifests.some(isToken)) return true
  return asList(dig(volume, 'projected', 'sources')).some((source) => {
    const { audience } = asFields(dig(source, 'serviceAccountToken'))
    return 'serviceAccountToken' in asFields(source) && (!audience || /kubernetes/.test(asText(audience)))
  })
}

/** Whether each pod has its own volume of this name. The API server refuses a pod without the volume. */
function isOwn(pod: Fields, name: string): boolean {
  const volume = volumeOf(pod, name)
  return 'emptyDir' in volume || Object.keys(volume).length === 0
}

function mounts(container: Fields, volume: unknown): boolean {
  return asList(container.volumeMounts).some((mount) => dig(mount, 'name') === volume)
}

/** The parts of a token that a client in a cluster requires. */
function* tokenFaults(sources: readonly unknown[]): Generator<Said> {
  const tokens = sources.map((source) => asFields(dig(source, 'serviceAccountToken')))
  const token = tokens.find(({ path }) => path === 'token')
  if (token === undefined)
    yield `its agent's token is not in the file token: set the path of serviceAccountToken to token`
  else if (/^https?:|^api$|kubernetes/.test(asText(token.audience)))
    yield {
      warning: `its agent's token is for the audience ${token.audience}, which the API server may refuse: remove audience`,
    }
  else if (asText(token.audience) !== '')
    yield `its agent's token is for the audience ${token.audience}, which the API server refuses: remove audience`
  const hasCa = sources.some((source) => {
    const items = dig(source, 'configMap', 'items') ?? dig(source, 'secret', 'items')
    const isWhole = items === undefined && dig(source, 'configMap', 'name') === 'kube-root-ca.crt'
    return isWhole || asList(items).some((item) => dig(item, 'path') === 'ca.crt')
  })
  if (!hasCa)
    yield `its agent's volume has no ca.crt, so the agent cannot verify the API server: add the ConfigMap kube-root-ca.crt to the projected volume`
}

interface Reader {
  readonly one: Installed
  readonly container: Fields
  /** Whether the image is this project's own, which has no files of users. */
  readonly isOurs: boolean
}

/** Whether a container has a file. The image of LangFlow may have it as well. */
function* fileFaults(
  path: string,
  { one, container, isOurs }: Reader,
  manifests: readonly Manifest[],
): Generator<Said> {
  const mount = mountAt(container, path)
  if (mount === null) {
    const lack = `no volume is mounted at ${path} in the container ${container.name}`
    yield isOurs
      ? `${lack}: mount a volume with that file`
      : { unknown: `${lack}, unless its image has that file` }
    return
  }
  if (mount.subPath !== '' && !isOurs)
    yield {
      warning: `${path} is mounted with subPath, and Kubernetes never updates such a file: mount the whole volume`,
    }
  const volume = volumeOf(one.pod, mount.volume)
  const file = mount.subPath !== '' ? mount.subPath : path.slice(mount.path.length + 1)
  for (const [kind, source] of [
    ['Secret', asFields(volume.secret)],
    ['ConfigMap', asFields(volume.configMap)],
  ] as const) {
    const name = asText(source.secretName) || asText(source.name)
    const object = manifests.find(
      (other) => other.kind === kind && other.name === name && inOneNamespace(other, one.manifest),
    )
    if (object === undefined || file === '') continue
    const paths = filesOf(object.value, asList(source.items))
    if (!paths.some((one) => one === file || one.startsWith(`${file}/`)))
      yield `${kind}/${name} has no key for the file ${path}: add the key ${file}, or correct the path`
  }
}

/** The paths of the files of a Secret or a ConfigMap, below its mount. */
function filesOf(value: Fields, items: readonly unknown[]): string[] {
  const { data, stringData, binaryData } = value
  const keys = Object.keys({ ...asFields(data), ...asFields(stringData), ...asFields(binaryData) })
  if (items.length === 0) return keys
  return items
    .filter((item) => keys.includes(asText(dig(item, 'key'))))
    .map((item) => asText(dig(item, 'path')))
}
