import type { Command } from 'commander'
import { createProgram } from '../../config/command-line.ts'
import { agentOptions, launcherOptions, runOptions } from '../../config/options.ts'
import { flagOf, SettingOption, variableOf } from '../../config/setting.ts'
import { UsageError } from '../../exit.ts'
import { drillOptions } from '../drill/drill-command.ts'
import { type Environment, givenVariable } from './container-environment.ts'
import { Unseen } from './rule.ts'

/** The options with which a program of this project would start in a container. */
export interface Started<T> {
  /** `null` if the program would not start. Reading an option whose value check cannot see throws `Unseen`. */
  readonly options: T | null
  /** The reason why the program would not start; `null` if it would. */
  readonly fault: string | null
  /** Why an option may have another value; `null` if check sees every value. */
  readonly unseen: string | null
}

const COMMANDS = { agent: agentOptions, launch: launcherOptions, run: runOptions, drill: drillOptions }

/** The flags and variables from which an option is made, if they are not those of its own name. */
const MADE_FROM: Readonly<Record<string, readonly string[]>> = {
  traffic: ['LEADER_TRAFFIC', 'LEADER_FRONT_LISTEN', 'LEADER_FRONT_ADDRESS', 'POD_IP'],
  pod: ['POD_NAME', 'POD_UID', 'POD_TEMPLATE_HASH', 'CONTROLLER_REVISION_HASH'],
  identity: ['POD_NAME', 'POD_UID', 'LEADER_IDENTITY'],
  command: [],
  privateDir: [],
}

type OptionsOf<N extends keyof typeof COMMANDS> = ReturnType<ReturnType<(typeof COMMANDS)[N]>>

/** Reads the options as the program itself would read them at its start. */
export function startedOptions<N extends keyof typeof COMMANDS>(
  name: N,
  args: readonly string[],
  environment: Environment,
): Started<OptionsOf<N>> {
  // The kubelet adds this variable to every container.
  const env = { ...environment.values, KUBERNETES_SERVICE_HOST: '10.0.0.1' }
  const command = commandIn(createProgram(env), name)
  const read = COMMANDS[name](command)
  let options: OptionsOf<N> | null = null
  command.action(() => {
    options = read(env) as OptionsOf<N>
  })
  try {
    command.parent!.parse([name, ...args], { from: 'user' })
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    const fault = error.message.replace(/^langflow-leader \w+: (.*); see '.*'$/s, '$1')
    // Such a variable stops the program, whatever the values of others are.
    const isCertain = fault.startsWith('unknown environment variable')
    const unseen = isCertain ? null : firstOf(unseenIn(command, environment), environment)
    return { options: null, fault, unseen }
  }
  const unseen = unseenIn(command, environment)
  return { options: guarded(options!, unseen), fault: null, unseen: firstOf(unseen, environment) }
}

/** The other commands define variables that this one accepts. */
function commandIn(program: Command, name: keyof typeof COMMANDS): Command {
  for (const other of ['agent', 'launch', 'run'] as const)
    if (other !== name) COMMANDS[other](program.command(other))
  return program.command(name)
}

function firstOf(unseen: ReadonlyMap<string, string>, { sources }: Environment): string | null {
  if (sources.length > 0) return `its variables may come from ${sources.join(' or ')}`
  return [...unseen.values()][0] ?? null
}

/** The variables whose values check cannot see, each with the reason. Flags override variables. */
function unseenIn(command: Command, environment: Environment): Map<string, string> {
  const own = command.options.filter((option) => option instanceof SettingOption)
  const isTyped = (option: SettingOption) => command.getOptionValue(option.attributeName()) !== undefined
  const typed = new Set(own.filter(isTyped).map(({ variable }) => variable))
  const names = [...own.map(({ variable }) => variable ?? ''), ...Object.values(MADE_FROM).flat()]
  const unseen = new Map<string, string>()
  for (const name of names) {
    const { value, isSet, why } = givenVariable(environment, name)
    if (value === null && isSet !== false && !typed.has(name)) unseen.set(name, why)
  }
  return unseen
}

/** The options, without the values that check cannot see. */
function guarded<T extends object>(options: T, unseen: ReadonlyMap<string, string>): T {
  if (unseen.size === 0) return options
  const copy = { ...options }
  for (const [key, value] of Object.entries(options)) {
    const names = MADE_FROM[key] ?? [variableOf(flagOf(key))]
    const why = names.flatMap((name) => unseen.get(name) ?? [])[0]
    if (key === 'agent' || key === 'launcher')
      Object.assign(copy, { [key]: guarded(value as object, unseen) })
    else if (why !== undefined)
      Object.defineProperty(copy, key, {
        get() {
          throw new Unseen(why)
        },
      })
  }
  return copy
}
