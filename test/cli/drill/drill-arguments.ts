import { type DrillSettings, drillOptions } from '../../../agent/cli/drill/drill-command.ts'
import { createProgram } from '../../../agent/config/command-line.ts'

/** Parses the arguments of `drill`. */
export async function parseDrill(
  words: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<DrillSettings> {
  const program = createProgram(env)
  const command = program.command('drill')
  const read = drillOptions(command)
  let settings: DrillSettings | undefined
  command.action(() => {
    settings = read(env)
  })
  await program.parseAsync(['drill', ...words], { from: 'user' })
  return settings!
}
