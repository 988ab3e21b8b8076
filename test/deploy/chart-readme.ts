import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isCollection, isMap, isScalar, LineCounter, parseDocument, type Scalar, type YAMLMap } from 'yaml'
import { DEPLOY } from './manifests.ts'

export const README = join(DEPLOY, 'chart/README.md')
const read = (file: string) => readFileSync(join(DEPLOY, 'chart', file), 'utf8')

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>
  readonly definitions?: Readonly<Record<string, Schema>>
  readonly $ref?: string
}

/** The README of the chart, with a row for each of its values. npm run manifests writes it. */
export function chartReadme(): string {
  const text = read('values.yaml')
  const lines = text.split('\n')
  const counter = new LineCounter()
  const values = parseDocument(text, { lineCounter: counter }).contents as YAMLMap<Scalar<string>>
  const schema = JSON.parse(read('values.schema.json')) as Schema
  const resolved = (one: Schema = {}) => schema.definitions?.[one.$ref?.split('/').at(-1) ?? ''] ?? one

  /** The comment above a key, and the one on its line. */
  function commentOf(key: Scalar): string {
    const at = counter.linePos(key.range![0]).line - 1
    const above = lines.slice(0, at).findLastIndex((line) => !/^\s*#/.test(line)) + 1
    const beside = / # (.*)$/.exec(lines[at]!)?.[1] ?? ''
    return (
      [...lines.slice(above, at).map((line) => line.replace(/^\s*# ?/, '')), beside]
        // A list of choices.
        .map((line) => line.replace(/^(\w+) {2,}/, '<br>`$1`: '))
        .join(' ')
        .replaceAll(/^<br>|(?<= ) +| $/g, '')
        .replaceAll('|', '\\|')
        .replaceAll(/<(?!br>)/g, '&lt;')
    )
  }

  function rowsOf(map: YAMLMap, { properties = {} }: Schema, path: string): string[] {
    return map.items.flatMap((pair) => {
      const key = pair.key as Scalar<string>
      const name = path + key.value
      const inner = resolved(properties[key.value])
      const { value } = pair
      const row = (shown: string) => `| \`${name}\` | ${shown} | ${commentOf(key)} |`
      if (isMap(value) && inner.properties && value.items.length > 0 && !value.flow)
        return [...(commentOf(key) ? [row('')] : []), ...rowsOf(value, inner, `${name}.`)]
      const shown = isScalar(value) ? value.value : isCollection(value) ? value.toJSON() : null
      return [row(`\`${JSON.stringify(shown)}\``)]
    })
  }

  const [first] = values.items
  // The first paragraph of the file is about all values.
  const intro = text.slice(0, first!.key.range![0]).split('\n\n')[0]!.replaceAll(/^# ?/gm, '')
  return `# langflow-leader

LangFlow with standbys, of which exactly one acts. [Install](https://github.com/OWNER/langflow-leader/blob/main/docs/guide/install.md)
explains the choices.

\`\`\`sh
helm install langflow deploy/chart --set image.repository=REGISTRY/langflow-leader --set database.trial=true --set storage.type=none
helm test langflow
\`\`\`

\`helm test\` runs \`langflow-leader check\` in a pod, whose account may list the objects of the namespace, but not read Secrets. After a failed
test, \`kubectl logs langflow-leader-test\` shows the findings. After a success, the pod is removed. \`helm template --skip-tests\` leaves the pod and its account out.

## Values

<!-- By npm run manifests, from values.yaml. -->
${intro}

| value | default | |
|---|---|---|
${rowsOf(values, schema, '').join('\n')}
`
}
