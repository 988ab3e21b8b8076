import { createLogUpdate } from 'log-update'
import type { Clock } from '../clock.ts'
import { drawBoard } from './board.ts'
import { lineOf } from './lines.ts'
import { createPaint } from './paint.ts'
import { repeat } from './repeat.ts'
import { reportOf } from './report.ts'
import type { Result } from './result.ts'
import type { Scene, Told } from './scene.ts'
import { EVERY_MS } from './steady-client.ts'

/** How a demo is shown. */
export interface Show {
  /** The first lines, and from then on whatever the scene has. */
  open(title: string, scene: Scene, isOpen: (name: string) => boolean): void
  told(told: Told): void
  /** In place of anything live. */
  result(result: Result): void
  /** Without a result: the last frame stays. */
  close(): void
}

const FRAME_MS = 100

/** Live on a terminal, else line by line. */
export function createShow(stream: NodeJS.WriteStream, clock: Clock): Show {
  return stream.isTTY && process.env.TERM !== 'dumb' ? liveShow(stream, clock) : plainShow(stream)
}

function plainShow(stream: NodeJS.WriteStream): Show {
  const paint = createPaint(stream)
  return {
    open(title, { url }) {
      stream.write(
        `${title}\nfront door ${url}, which follows the gates; a client asks it each ${EVERY_MS} ms\n\n`,
      )
    },
    told: (told) => void stream.write(`${told.heading ? '\n' : ''}${lineOf(told, paint)}\n`),
    close: () => {},
    result: (result) => void stream.write(`\n${reportOf(result, paint)}\n`),
  }
}

function liveShow(stream: NodeJS.WriteStream, clock: Clock): Show {
  const paint = createPaint(stream)
  const draw = createLogUpdate(stream)
  let stop = () => {}
  return {
    open(title, scene, isOpen) {
      stream.write(`${paint.strong(title)}\n\n`)
      stop = repeat(clock, FRAME_MS, () => draw(drawBoard(scene, isOpen, paint)))
    },
    told: () => {},
    close() {
      stop()
      draw.done()
    },
    result(result) {
      stop()
      draw.clear()
      draw.done()
      stream.write(`${reportOf(result, paint)}\n`)
    },
  }
}
