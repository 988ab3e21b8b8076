/** Unix ms as the API's MicroTime, which has exactly six digits; `micros`: the last three of them, 0 to 999. */
export function microTime(wallMs: number, micros = 0): string {
  const millis = new Date(wallMs).toISOString().slice(0, -1)
  return `${millis}${String(micros).padStart(3, '0')}Z`
}
