import { styleText } from 'node:util'

/** Colours for one stream: none where it is no terminal, or NO_COLOR is set. */
export interface Paint {
  readonly strong: (text: string) => string
  readonly faint: (text: string) => string
  readonly good: (text: string) => string
  readonly wait: (text: string) => string
  readonly bad: (text: string) => string
}

export function createPaint(stream: NodeJS.WriteStream): Paint {
  const style = (format: Parameters<typeof styleText>[0]) => (text: string) =>
    styleText(format, text, { stream, validateStream: true })
  return {
    strong: style('bold'),
    faint: style('dim'),
    good: style('green'),
    wait: style('yellow'),
    bad: style('red'),
  }
}
