import { readdirSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { FatalError } from '../exit.ts'
import { type Interpreter, readInterpreter } from './interpreter.ts'

/** Where the image's node has its dynamic loader and its libraries: in a directory of this name beside it. */
export const LIBRARIES = 'lib'

/**
 * A node that brings its own dynamic loader and libraries, so that it starts in any image: the one of the image, and a
 * copy of it. The path of its loader is absolute, and another one in each directory.
 */
export class PortableNode {
  /** The files of `LIBRARIES`. */
  readonly libraries: readonly string[]
  private readonly interpreter: Interpreter

  private constructor(libraries: readonly string[], interpreter: Interpreter) {
    this.libraries = libraries
    this.interpreter = interpreter
  }

  /** `undefined`: it uses the libraries of the machine. */
  static of(node: string): PortableNode | undefined {
    const interpreter = readInterpreter(node)
    if (interpreter === undefined) return undefined
    const directory = join(dirname(node), LIBRARIES)
    if (real(dirname(interpreter.path)) !== real(directory)) return undefined
    return new PortableNode(
      readdirSync(directory).map((name) => join(directory, name)),
      interpreter,
    )
  }

  /** The path of the loader of a copy in `directory`. Throws `FatalError` when the copy has no room for it. */
  loaderIn(directory: string): string {
    const loader = join(directory, LIBRARIES, basename(this.interpreter.path))
    const tooMuch = Buffer.byteLength(loader) - this.interpreter.room
    if (tooMuch <= 0) return loader
    const longest = Buffer.byteLength(directory) - tooMuch
    throw new FatalError(
      `the path of ${directory} is too long for node to start from: name one of at most ${longest} bytes`,
    )
  }
}

function real(path: string): string | undefined {
  try {
    return realpathSync(path)
  } catch {
    return undefined
  }
}
