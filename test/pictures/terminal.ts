const STYLE = `
body { margin: 0; display: inline-block; background: #16181b; color: #d8dce0; }
pre { font: 14px/1.5 'DejaVu Sans Mono', monospace; margin: 0; padding: 1.2em 1.5em; }
.s1 { font-weight: 700; } .s2, .s90 { color: #8b949e; } .s31 { color: #ff7b72; } .s32 { color: #5cc98a; }
.s33 { color: #e2b04a; } .s34, .s36 { color: #82b1ff; } .s4 { text-decoration: underline; }
`
/** For each code that ends styles, the codes of these styles. */
const ENDS: Readonly<Record<string, (code: string) => boolean>> = {
  0: () => true,
  22: (code) => ['1', '2'].includes(code),
  24: (code) => code === '4',
  39: (code) => /^(3|9)\d$/.test(code),
}

/** Renders a command and its output like a terminal, as an HTML page. */
export function terminal(command: string, output: string): string {
  const styles = new Set<string>()
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences set a terminal's styles
  const pieces = output.trimEnd().split(/\x1b\[(\d*)m/)
  const parts = pieces.map((piece, n) => {
    if (n % 2 === 0)
      return `<span class="${[...styles].map((code) => `s${code}`).join(' ')}">${escaped(piece)}</span>`
    const isOver = ENDS[piece || '0']
    if (isOver === undefined) styles.add(piece)
    else for (const code of styles) if (isOver(code)) styles.delete(code)
    return ''
  })
  return `<!doctype html><style>${STYLE}</style><pre><span class="s2">$ </span>${escaped(command)}\n${parts.join('')}</pre>`
}

function escaped(text: string): string {
  return text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`)
}
