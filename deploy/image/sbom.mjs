// sbom.mjs [ROOT] < NPM_SBOM: prints a bill of materials as CycloneDX JSON: the packages from `npm sbom`, node with its built-in
// components, and for the image the Debian packages that collect.sh listed below ROOT.
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { text } from 'node:stream/consumers'

const STATUS = 'var/lib/dpkg/status.d'
const [root] = process.argv.slice(2)
const read = (file) => readFileSync(join(root, file), 'utf8')
const bill = JSON.parse(await text(process.stdin))
const program = bill.metadata.component
// npm writes the name of a directory. A serial number and a time would make two builds of the same sources differ.
program.name = basename(program['bom-ref'].replace(/@[^@]*$/, ''))
program.type = 'application'
delete bill.serialNumber
delete bill.metadata.timestamp

const added = [node(), ...(root === undefined ? [] : readdirSync(join(root, STATUS)).sort().map(debian))]
bill.components.push(...added)
bill.dependencies.push(...added.map((component) => ({ ref: component['bom-ref'], dependsOn: [] })))
bill.dependencies
  .find(({ ref }) => ref === program['bom-ref'])
  .dependsOn.push(...added.map((component) => component['bom-ref']))
process.stdout.write(`${JSON.stringify(bill, null, 2)}\n`)

function node() {
  const { node: version, ...parts } = process.versions
  return {
    'bom-ref': `node@${version}`,
    type: 'platform',
    name: 'node',
    version,
    cpe: `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*`,
    purl: `pkg:generic/node@${version}`,
    components: Object.entries(parts).map(([name, partVersion]) => ({
      'bom-ref': `node@${version}/${name}@${partVersion}`,
      type: 'library',
      name,
      version: partVersion,
    })),
  }
}

function debian(file) {
  const [, release] = read('etc/os-release').match(/^VERSION_ID="?([^"\n]+)/m)
  const record = read(join(STATUS, file))
  const field = (name) => record.match(new RegExp(`^${name}: (.*)$`, 'm'))?.[1]
  const [name, version] = [field('Package'), field('Version')]
  const architecture = field('Architecture')
  // The source package, which security notices name.
  const source = field('Source')?.replace(/ .*/, '')
  return {
    'bom-ref': `debian/${name}@${version}`,
    type: 'library',
    name,
    version,
    purl: `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}&distro=debian-${release}`,
    ...(source && { properties: [{ name: 'debian:source', value: source }] }),
  }
}
