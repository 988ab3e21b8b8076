import type { Command } from 'commander'
import { API_KEY } from '../../config/program.ts'
import { addSettings, choice, group, onOff, optional, readSettings, setting } from '../../config/setting.ts'
import { parseDuration, parseObjectName } from '../../config/values.ts'
import { OPERATE_SETTINGS } from '../settings.ts'

/** In the order in which `all` plays them. */
export const SCENARIOS = ['switchover', 'crash-langflow', 'crash-agent', 'delete-pod'] as const
export type ScenarioName = (typeof SCENARIOS)[number]

const DRILL_SETTINGS = {
  ...group('Drill', {
    scenario: choice([...SCENARIOS, 'all'], 'what is done to the leader'),
    service: {
      argument: '<url>',
      about: 'where users reach LangFlow, such as http://langflow:7860',
      parse: parseService,
    },
    flow: optional(
      '<id or name>',
      '/health alone, which measures no RPO',
      `which flow is run all along; it stores its messages. Its API key is read from ${API_KEY} alone`,
      parseFlow,
    ),
    rate: setting('<per second>', '5', 'how many requests are sent each second, from 1 to 10', parseRate),
    rtoMs: setting('<duration>', '30s', 'how long users may go without an answer', (text) =>
      parseDuration(text, 1),
    ),
    rpo: setting('<rows>', '0', 'how many stored messages may be lost', parseRows),
    timeoutMs: setting('<duration>', '10m', 'how long until the replicas must be as well as before', (text) =>
      parseDuration(text, 1_000),
    ),
    yes: { ...onOff('do not ask; needed where there is no terminal to ask on'), short: '-y' },
  }),
  ...OPERATE_SETTINGS,
  ...group('Output', {
    output: {
      ...choice(['markdown', 'json', 'yaml'], 'how the report is printed: for people, or for programs'),
      short: '-o',
    },
    report: optional(
      '<file>',
      'none',
      'where the report goes as one HTML file with a time line',
      (text) => text,
    ),
    keepIn: optional(
      '<name>',
      'nowhere',
      'a ConfigMap, which exists, that is given the report and keeps the last 12; the Lease then tells of a refusal as well',
      parseObjectName,
    ),
  }),
}

export type DrillSettings = ReturnType<ReturnType<typeof drillOptions>>

/** Adds the flags of `drill` to its command, and returns what reads them: it ends with a usage error where something is wrong. */
export function drillOptions(command: Command) {
  addSettings(command, DRILL_SETTINGS)
  return (env: NodeJS.ProcessEnv) => {
    const { scenario, service, rtoMs, rpo, rate, ...said } = readSettings(command, DRILL_SETTINGS, env)
    if (service === null)
      return command.error('say where users reach LangFlow: --service http://langflow:7860')
    const apiKey = env[API_KEY] || null
    if (apiKey !== null && said.flow === null)
      command.error(`${API_KEY} is of no use without a flow: name one with --flow`)
    return {
      ...said,
      service,
      apiKey,
      perSecond: rate,
      limits: { rtoMs, rpoRows: rpo },
      scenarios: scenario === 'all' ? SCENARIOS : ([scenario] as const),
    }
  }
}

function parseService(text: string): string {
  const like = 'such as http://langflow:7860'
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) throw new Error(`write an http or https URL, ${like}`)
  if (url.username || url.password) throw new Error(`leave out user and password, ${like}`)
  if (url.search || url.hash) throw new Error(`end it with the path at which LangFlow begins, ${like}`)
  return url.href.replace(/\/+$/, '')
}

function parseFlow(text: string): string {
  if (/^[\w-]{1,255}$/.test(text)) return text
  throw new Error('use the id of a flow, or its endpoint name, such as echo')
}

function parseRate(text: string): number {
  if (/^([1-9]|10)$/.test(text)) return Number(text)
  throw new Error('use a whole number from 1 to 10')
}

function parseRows(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text)
  throw new Error('use a whole number, such as 0')
}
