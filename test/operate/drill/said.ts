import { createProgram } from '../../../agent/config/program.ts'
import { type DrillSettings, drillOptions } from '../../../agent/operate/drill/settings.ts'

/** What `drill` reads from these words after its name. */
export async function drillSaid(
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
