import type { Command } from 'commander'
import { API_KEY, addExamples } from '../../config/command-line.ts'
import { addSettings, choice, group, onOff, optional, readSettings, setting } from '../../config/setting.ts'
import { parseDuration } from '../../config/values.ts'
import { OPERATE_SETTINGS, OUTPUT_SETTINGS, parseUrl } from '../cluster-settings.ts'

export const SCENARIOS = ['switchover', 'delete-pod', 'force-delete-pod'] as const
export type Scenario = (typeof SCENARIOS)[number]

const DRILL_SETTINGS = {
  ...group('Drill', {
    scenario: choice(SCENARIOS, 'what is done to the leader'),
    service: {
      argument: '<url>',
      about: 'where users reach LangFlow, such as http://langflow:7860',
      parse: parseUrl,
    },
    flow: optional(
      '<id or name>',
      '/health alone, which measures no RPO',
      `which flow is run all along; it stores its messages. Its API key is read from ${API_KEY} alone`,
      (text) => text,
    ),
    rtoMs: setting('<duration>', '30s', 'how long users may go without an answer', (text) =>
      parseDuration(text, 1),
    ),
    timeoutMs: setting('<duration>', '10m', 'how long until the replicas must be as well as before', (text) =>
      parseDuration(text, 1_000),
    ),
    yes: { ...onOff('do not ask; needed where there is no terminal to ask on'), short: '-y' },
  }),
  ...OPERATE_SETTINGS,
  ...OUTPUT_SETTINGS,
}

export type DrillSettings = ReturnType<ReturnType<typeof drillOptions>>

export function addDrill(program: Command): void {
  const command = program
    .command('drill')
    .description('do to the leader what must not hurt, and measure what users notice')
  const read = drillOptions(command)
  addExamples(command, [
    ['Move leadership while /health is asked', '--service https://langflow.example.org'],
    ["Delete the leader's pod while a flow is run", '--service URL --flow echo --scenario delete-pod'],
    ['For a script, with stricter limits', '--service http://langflow:7860 --rto 5s --yes -o json'],
  ])
  command.action(async () => {
    const options = read(process.env)
    const { terminalToAskOn } = await import('../terminal.ts')
    const terminal = terminalToAskOn(command, options.yes)
    const { runDrill } = await import('./drill.ts')
    process.exitCode = await runDrill(options, terminal)
  })
}

/** Adds the flags of `drill`, and returns the function that reads them: it ends with a usage error. Variables set them as well, for a CronJob. */
export function drillOptions(command: Command) {
  addSettings(command, DRILL_SETTINGS)
  return (env: NodeJS.ProcessEnv) => {
    const { service, ...said } = readSettings(command, DRILL_SETTINGS, env)
    if (service === null)
      return command.error('say where users reach LangFlow: --service http://langflow:7860')
    const apiKey = env[API_KEY] || null
    if (apiKey !== null && said.flow === null)
      command.error(`${API_KEY} is of no use without a flow: name one with --flow`)
    return { ...said, service, apiKey }
  }
}
