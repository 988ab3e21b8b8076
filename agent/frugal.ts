import { setFlagsFromString } from 'node:v8'

/**
 * Has V8 interpret everything. Optimising JavaScript, and the WebAssembly in which undici parses HTTP, takes some 20 MB
 * for good; a program that does a few things a second gains nothing by it.
 */
export function beFrugal(): void {
  setFlagsFromString('--no-opt'); setFlagsFromString('--no-maglev'); setFlagsFromString('--no-sparkplug')
  setFlagsFromString('--no-wasm-tier-up --no-wasm-dynamic-tiering')
}
