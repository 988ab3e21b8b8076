import { setFlagsFromString } from 'node:v8'

/**
 * Has V8 interpret everything, and keep the space for young objects small. Optimising JavaScript, and the WebAssembly
 * in which undici parses HTTP, takes some 20 MB for good; a program that does a few things a second gains nothing by it.
 */
export function beFrugal(): void {
  setFlagsFromString('--no-opt --no-maglev --no-sparkplug')
  setFlagsFromString('--no-wasm-tier-up --no-wasm-dynamic-tiering')
  setFlagsFromString('--semi-space-growth-factor=1')
}
