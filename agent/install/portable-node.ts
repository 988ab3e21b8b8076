import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { FatalError } from '../exit.ts'
import { type Interpreter, readInterpreter } from './interpreter.ts'

/**
 * Beside the image's node: a copy of its dynamic loader. The loader itself may be executed and not read there, for the same
 * reason as a node that was installed (an image volume); node is readable, since it is copied.
 */
const READABLE_LOADER = 'loader'

/** Where the image's node has its dynamic loader and its libraries: in a directory of this name beside it. */
export const LIBRARIES = 'lib'

/**
 * A node that brings its own dynamic loader and libraries, so that it starts in any image: the one of the image, and a
 * copy of it. The path of its loader is absolute, and another one in each directory.
 */
export class PortableNode {
  /** What to copy into `LIBRARIES`, by the name that it has there. */
  readonly libraries: ReadonlyMap<string, string>
  private readonly interpreter: Interpreter

  private constructor(libraries: ReadonlyMap<string, string>, interpreter: Interpreter) {
    this.libraries = libraries
    this.interpreter = interpreter
  }

  /** `undefined`: it uses the libraries of the machine. */
  static of(node: string): PortableNode | undefined {
    const interpreter = readInterpreter(node)
    if (interpreter === undefined) return undefined
    const directory = join(dirname(node), LIBRARIES)
    if (real(dirname(interpreter.path)) !== real(directory)) return undefined
    const libraries = new Map(readdirSync(directory).map((name) => [name, join(directory, name)]))
    const loader = join(dirname(node), READABLE_LOADER)
    if (existsSync(loader)) libraries.set(basename(interpreter.path), loader)
    return new PortableNode(libraries, interpreter)
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
