import { hash } from 'node:crypto'
import { LIBRARY, page } from './page-script.ts'

const STYLE = `
:root {
  color-scheme: light dark;
  --page: light-dark(#f6f6f4, #121416); --line: light-dark(#dcdfe1, #33383d);
  --ink: light-dark(#1d2125, #e7e9eb); --faint: light-dark(#5f676e, #9aa3ab); --news: light-dark(#1f5fbf, #82b1ff);
}
.good { --tone: light-dark(#19713d, #5cc98a); --wash: light-dark(#e5f3ea, #14301f); }
.warning { --tone: light-dark(#8a5a00, #e2b04a); --wash: light-dark(#fbf0d9, #352a10); }
.bad { --tone: light-dark(#b3261e, #ff8a80); --wash: light-dark(#fbe7e5, #3d1b19); }
* { box-sizing: border-box; margin: 0; padding: 0; }
body {
  font: 16px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
  color: var(--ink); background: var(--page); max-width: 80rem; margin: 0 auto; padding: 1.5rem 1rem 3rem;
}
main.stale { opacity: .5; }
header { border-left: .4rem solid var(--tone); padding-left: 1rem; }
h1 { font-size: clamp(1.3rem, 4vw, 1.8rem); line-height: 1.3; text-wrap: balance; }
a { color: var(--news); margin-right: .8rem; }
.faint, th, nav { color: var(--faint); font-size: .9rem; }
.notice { background: var(--wash); border-left: .25rem solid var(--tone); padding: .5rem .8rem; margin-top: 1rem; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; margin-top: 2rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem .5rem; border-bottom: 1px solid var(--line); }
td:last-child { min-width: 12rem; }
td:nth-child(2) { color: var(--tone); font-weight: 600; }
nav { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1rem; }
`

const PARAMETER = Object.entries(LIBRARY).map(([name, text]) => `${name}: ${text}`)
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

const HEADS = ['Pod', 'Role', 'LangFlow', 'Standby', 'Revision', 'Why'].map((name) => `<th>${name}</th>`)

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
<table><thead><tr>${HEADS.join('')}</tr></thead><tbody id="replicas"></tbody></table>
</main>
<nav><p id="reporter"></p><a href="replicas">/replicas</a><a href="status">/status</a><a href="metrics">/metrics</a></nav>
<script>${SCRIPT}</script>
</body>
</html>
`
