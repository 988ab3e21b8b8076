import { hash } from 'node:crypto'
import { LIBRARY, page } from './page-script.ts'
import { STYLE } from './page-style.ts'

const PARAMETER = Object.entries(LIBRARY).map(
  ([name, value]) => `${name}: ${typeof value === 'function' ? value : JSON.stringify(value)}`,
)
const SCRIPT = `(${page})({ ${PARAMETER.join(', ')} })`

/**
 * The permissions of the page: its one style sheet and its one script, which are named by their hashes, and requests to
 * this replica. Nothing else can be loaded, run, sent or framed.
 */
export const PAGE_POLICY =
  `default-src 'none'; script-src '${hashOf(SCRIPT)}'; style-src '${hashOf(STYLE)}'; connect-src 'self'; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

function hashOf(text: string): string {
  return `sha256-${hash('sha256', text, 'base64')}`
}

const heads = (...names: readonly string[]) => names.map((name) => `<th>${name}</th>`).join('')
const HEADS = {
  replicas: heads('Pod', 'Role', 'LangFlow', 'Standby', 'Revision', 'Flows', 'Front', 'Why'),
  terms: heads(
    ...['Epoch', 'Holder', 'Began', 'Lasted', 'Because', 'No server'],
    ...['Detect', 'Acquire', 'Start', 'Healthy', 'Ended'],
  ),
}

/** The page without data. Its script shows `/replicas`. */
export const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>langflow-leader</title>
<style>${STYLE}</style>
</head>
<body>
<noscript>This page requires JavaScript. The command langflow-leader status shows the same.</noscript>
<p id="stale" class="notice bad" role="status" hidden></p>
<main id="main">
<header id="head"><p id="lease" class="faint"></p><h1 id="verdict" aria-live="polite"></h1></header>
<div id="notices"></div>
<h2>Replicas</h2>
<table><thead><tr>${HEADS.replicas}</tr></thead><tbody id="replicas"></tbody></table>
<h2>Last terms</h2>
<p id="drill" class="faint"></p>
<table><thead><tr>${HEADS.terms}</tr></thead><tbody id="terms"></tbody></table>
</main>
<nav><p id="reporter"></p><a href="replicas">/replicas</a><a href="status">/status</a><a href="metrics">/metrics</a></nav>
<script>${SCRIPT}</script>
</body>
</html>
`
