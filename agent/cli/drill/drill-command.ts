import type { Command } from 'commander'
import { API_KEY, addExamples } from '../../config/command-line.ts'
import { addSettings, choice, group, onOff, optional, readSettings, setting } from '../../config/setting.ts'
import { parseDuration } from '../../config/values.ts'
import { OPERATE_SETTINGS, OUTPUT_SETTINGS, parseUrl } from '../cluster-settings.ts'

export const SCENARIOS = ['switchover', 'delete-pod', 'force-delete-pod'] as const

const DRILL_SETTINGS = {
  ...group('Drill', {
    scenario: choice(SCENARIOS, 'the action on the leader'),
    service: {
      argument: '<url>',
      about: "LangFlow's address for users, such as http://langflow:7860",
      parse: parseUrl,
    },
    flow: optional(
      '<id or name>',
      'only /health is requested, and no messages are counted',
      `the flow that the drill runs, which stores its messages; the API key comes from ${API_KEY}`,
      (text) => text,
    ),
    rtoMs: setting('<duration>', '30s', 'the longest allowed time without an answer', (text) =>
      parseDuration(text, 1),
    ),
    timeoutMs: setting('<duration>', '10m', 'how long the replicas may take to recover', (text) =>
      parseDuration(text, 1_000),
    ),
    yes: { ...onOff('run the scenario; required'), short: '-y' },
  }),
  ...OPERATE_SETTINGS,
  ...OUTPUT_SETTINGS,
}

export type DrillSettings = ReturnType<ReturnType<typeof drillOptions>>

export function addDrill(program: Command): void {
  const command = program
    .command('drill')
    .description("hand over or delete the leader's pod, and measure the effect on users")
  const read = drillOptions(command)
  addExamples(command, [
    [
      "Delete the leader's pod while the drill runs the flow echo, in a script",
      '--service https://langflow.example.org --flow echo --scenario delete-pod --rto 5s --yes -o json',
    ],
  ])
  command.action(async () => {
    const options = read(process.env)
    const { runDrill } = await import('./drill.ts')
    process.exitCode = await runDrill(options)
  })
}

/** Adds the flags of `drill`, and returns a function that reads them. Variables also set the flags, for use in a CronJob. */
export function drillOptions(command: Command) {
  addSettings(command, DRILL_SETTINGS)
  return (env: NodeJS.ProcessEnv) => {
    const { service, ...options } = readSettings(command, DRILL_SETTINGS, env)
    if (service === null)
      return command.error(
        "missing LangFlow's address for users: add --service, such as --service http://langflow:7860",
      )
    return { ...options, service, apiKey: env[API_KEY] || null }
  }
}
