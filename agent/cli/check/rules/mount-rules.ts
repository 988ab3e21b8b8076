import { dirname } from 'node:path'
import { asFields, asList, asText, dig, type Fields, type Manifest } from '../../manifests/manifest.ts'
import { PROGRAM_DIR, TOKEN_DIR } from '../../manifests/pod-spec.ts'
import { referencesIn, Unknown } from '../environment.ts'
import { accountOf, containersOf, mountAt, mountsOf, objectsOf, secretsIn, volumeOf } from '../facts.ts'
import type { Facts, Installed, Rule } from '../rule.ts'

export const MOUNT_RULES: readonly Rule<Installed>[] = [
  {
    code: 'langflow-mounts',
    about: "Flows cannot write the agent's files. With these, a flow can pose as the launcher.",
    fix: "Mount the directories of program and socket readOnly in LangFlow's container, and the agent's state only in the agent.",
    *find({ agent, launcher, langflow, pod, container, options }) {
      if (launcher === null || !('options' in launcher)) return
      const socketDir = dirname(launcher.options.socket)
      const [own, theirs] = [mountAt(agent.container, dirname(options.socket)), mountAt(langflow, socketDir)]
      if (own === null || theirs === null || own.volume !== theirs.volume)
        yield `its agent listens on ${options.socket}, and the launcher connects to ${launcher.options.socket} on another volume`
      else if (options.socket.slice(own.path.length) !== launcher.options.socket.slice(theirs.path.length))
        yield `--socket is ${options.socket} in the agent, and ${launcher.options.socket} in the launcher`
      else if (own.readOnly) yield 'its agent mounts the directory of the socket readOnly'
      const state = mountAt(agent.container, options.stateDir)
      for (const volume of new Set([own?.volume, state?.volume]))
        if (volume !== undefined && !('emptyDir' in volumeOf(pod, volume)))
          yield `other pods may share the volume ${volume}, which is no emptyDir`
      const written = [programDirOf(langflow), socketDir].map((dir) => mountAt(langflow, dir)?.volume)
      for (const mount of mountsOf(langflow))
        if (written.includes(mount.volume) && !mount.readOnly)
          yield `its container ${container} mounts ${mount.path} writable`
      for (const other of containersOf(pod).filter(({ name }) => name !== agent.container.name))
        if (mountsOf(other).some(({ volume }) => volume === state?.volume))
          yield `its container ${other.name} mounts the agent's state`
    },
  },
  {
    code: 'agent-token',
    about: 'The agent has a token for the API server. If not, the replica never leads.',
    fix: `Mount a projected serviceAccountToken without an audience with the path token at ${TOKEN_DIR} in the agent's container.`,
    *find(one, facts) {
      const { agent, pod, options } = one
      if (options.kubeconfig !== null || automounts(one, facts)) return
      const mount = mountAt(agent.container, TOKEN_DIR)
      const volume = volumeOf(pod, mount?.volume)
      const secret = dig(volume, 'secret', 'secretName')
      if (secret !== undefined) throw new Unknown(`check does not read the token in Secret/${secret}`)
      const token = tokensIn(volume).find(
        (one) => `${mount?.path}/${dig(one, 'path')}` === `${TOKEN_DIR}/token`,
      )
      if (token === undefined) yield `its agent has no token at ${TOKEN_DIR}/token`
      else if (asText(dig(token, 'audience')) !== '')
        yield `its agent's token is for the audience ${dig(token, 'audience')}`
    },
  },
  {
    code: 'token-beside-flows',
    about: "No flow can read the agent's token. With it, a flow can make two replicas act.",
    fix: 'Set automountServiceAccountToken to false, and mount a projected token only in the agent. Remove a Secret with a token.',
    *find(one, facts) {
      const { pod, langflow, container } = one
      const tokens = objectsOf('Secret', one, facts).filter((secret) => isTokenOf(accountOf(one), secret))
      const opens = (secret: unknown) => tokens.some(({ name }) => name === secret)
      for (const { volume } of mountsOf(langflow)) {
        const own = volumeOf(pod, volume)
        for (const secret of secretsIn(own))
          if (facts.hidden.has(`Secret/${secret}`)) yield { unknown: facts.hidden.get(`Secret/${secret}`)! }
        // A token for another audience is for a cloud or a vault.
        if (secretsIn(own).some(opens) || tokensIn(own).some((token) => !dig(token, 'audience')))
          yield `its container ${container} mounts a token (the volume ${volume})`
      }
      for (const { title, key } of referencesIn(langflow))
        if ((key ?? 'token') === 'token' && opens(/^Secret\/(.*)/.exec(title)?.[1]))
          yield `its container ${container} has a token as a variable (${title})`
      if (automounts(one, facts)) yield `its container ${container} has the token of the agent's account`
    },
  },
]

/** The directory of the program with which LangFlow's container starts. */
function programDirOf({ command, args }: Fields): string {
  const words = [...asList(command), ...asList(args)].map(asText)
  const program = words.find((word) => word.endsWith('/langflow-leader.mjs'))
  return program === undefined ? PROGRAM_DIR : dirname(program)
}

/** Whether the token of the account is mounted into every container. Throws `Unknown`. */
function automounts(one: Installed, facts: Facts): boolean {
  const own = one.pod.automountServiceAccountToken
  const hidden = facts.hidden.get('ServiceAccount')
  if (typeof own === 'boolean') return own
  if (hidden !== undefined) throw new Unknown(hidden)
  const account = objectsOf('ServiceAccount', one, facts).find(({ name }) => name === accountOf(one))
  return account?.value.automountServiceAccountToken !== false
}

/** Whether a Secret holds a token of the account, which never expires. */
function isTokenOf(account: string, { value }: Manifest): boolean {
  const annotations = asFields(dig(value, 'metadata', 'annotations'))
  const isToken = value.type === 'kubernetes.io/service-account-token'
  return isToken && annotations['kubernetes.io/service-account.name'] === account
}

function tokensIn(volume: unknown): unknown[] {
  const sources = asList(dig(volume, 'projected', 'sources'))
  return sources.flatMap((one) => dig(one, 'serviceAccountToken') ?? [])
}
