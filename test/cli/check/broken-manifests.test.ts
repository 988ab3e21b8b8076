import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { check, type Finding, type Result } from '../../../agent/cli/check/check.ts'
import { factsOf } from '../../../agent/cli/check/installation.ts'
import { manifestOf } from '../../../agent/cli/manifests/manifest.ts'
import { parseStream } from '../../../agent/cli/manifests/manifest-stream.ts'
import { BROKEN, type Row } from './broken-manifests.ts'
import { ODD } from './odd-manifests.ts'
import { BASES, type Base, sound } from './sound-manifests.ts'

/** The verdict of `langflow-leader check -f -` on this stream. */
function verdictOn(text: string): readonly Result[] {
  return check(factsOf(parseStream(text, 'standard input').objects.map(manifestOf), null))
}

const errorsIn = (results: readonly Result[]) => results.filter(({ outcome }) => outcome === 'error')
const sentence = ({ object, message }: Finding) => `${object}: ${message}`

/** The findings as text, for the message of a failed assertion. */
function printed(results: readonly Result[]): string {
  const lines = results.flatMap(({ code, findings }) =>
    findings.map((finding) => `  ${finding.outcome} ${code}: ${sentence(finding)}`),
  )
  return lines.length === 0 ? '  no findings' : lines.join('\n')
}

const verdicts = new Map<Base, readonly Result[]>(BASES.map((base) => [base, verdictOn(sound(base).text())]))

/** The results with only those findings that the base doesn't have. */
function newIn(results: readonly Result[], base: Base): readonly Result[] {
  const known = new Set(verdicts.get(base)!.flatMap(({ findings }) => findings.map(sentence)))
  return results.map((result) => {
    const findings = result.findings.filter((finding) => !known.has(sentence(finding)))
    return { ...result, findings }
  })
}

function assertVerdict({ base, edit, expected, says, also }: Row): void {
  const manifests = sound(base)
  edit(manifests)
  const results = newIn(verdictOn(manifests.text()), base)
  const names = (finding: Finding) => expected.includes(finding.outcome) && says.test(sentence(finding))
  const found = results.filter(({ findings }) => findings.some(names))
  const wanted = `${expected.join(' or ')} that matches ${says}`
  assert.notEqual(found.length, 0, `no ${wanted}, but:\n${printed(results)}`)
  const others = errorsIn(results).filter((result) => {
    const unexpected = result.findings.filter(
      (finding) => finding.outcome === 'error' && !also?.test(sentence(finding)),
    )
    return !found.includes(result) && unexpected.length > 0
  })
  assert.equal(others.length, 0, `beside the ${wanted}:\n${printed(others)}`)
}

for (const base of BASES) {
  test(`the base ${base} is sound`, () => {
    const problems = errorsIn(verdicts.get(base)!)
    assert.equal(problems.length, 0, printed(problems))
  })
}

describe('check finds one mistake:', () => {
  for (const row of BROKEN) test(row.name, () => assertVerdict(row))
})

describe('check reports nothing useless:', () => {
  for (const { name, base, edit, render, useful } of ODD) {
    test(name, () => {
      const manifests = sound(base)
      edit(manifests)
      const text = render(manifests)
      assert.notEqual(text, sound(base).text(), 'nothing was edited')
      const results = verdictOn(text)
      const alarms = newIn(results, base).map((result) => {
        const isUseful = (finding: Finding) =>
          finding.outcome !== 'error' && useful !== undefined && useful.test(sentence(finding))
        return { ...result, findings: result.findings.filter((finding) => !isUseful(finding)) }
      })
      const wrong = alarms.filter(({ findings }) => findings.length > 0)
      assert.equal(wrong.length, 0, `false alarms:\n${printed(wrong)}`)
      assert.ok(
        results.some(({ code }) => code === 'agent-target'),
        'the agent was not judged',
      )
    })
  }
})

test('the table has enough rows, each with a name of its own', () => {
  assert.ok(BROKEN.length >= 110, `${BROKEN.length} broken`)
  assert.ok(ODD.length >= 25, `${ODD.length} odd`)
  const names = [...BROKEN, ...ODD].map(({ name }) => name)
  assert.equal(new Set(names).size, names.length)
})
