import assert from 'node:assert/strict'

export interface Family {
  readonly type: string
  readonly help: string
  /** By name and labels as they stand in the text. */
  readonly samples: Map<string, number>
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*'
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"'
const SAMPLE = new RegExp(`^(${NAME})(\\{${LABEL}(?:,${LABEL})*\\})? (\\S+)$`)

/** Reads Prometheus' text format 0.0.4 strictly: every sample belongs to the family announced before it. */
export function readExposition(text: string): Map<string, Family> {
  assert.ok(text.endsWith('\n'), 'the last line must end')
  const families = new Map<string, Family>()
  let name = ''
  let help = ''
  for (const line of text.split('\n').filter((each) => each !== '')) {
    const announced = new RegExp(`^# (HELP|TYPE) (${NAME}) (.*)$`).exec(line)
    if (announced?.[1] === 'HELP') {
      name = announced[2]!
      help = announced[3]!
      assert.ok(!families.has(name), `${name} twice`)
    } else if (announced) {
      assert.equal(announced[2], name)
      assert.match(announced[3]!, /^(counter|gauge|histogram)$/)
      families.set(name, { type: announced[3]!, help, samples: new Map() })
    } else {
      const [, base, labels = '', value] = SAMPLE.exec(line) ?? assert.fail(`no sample: ${line}`)
      const family = families.get(name)!
      const suffix = base!.slice(name.length)
      assert.ok(
        base!.startsWith(name) && (family.type === 'histogram' ? /^_(bucket|sum|count)$/ : /^$/).test(suffix),
        line,
      )
      assert.ok(!Number.isNaN(Number(value === '+Inf' ? Infinity : value)), line)
      assert.ok(!family.samples.has(base! + labels), `${line} twice`)
      family.samples.set(base! + labels, Number(value))
    }
  }
  return families
}
