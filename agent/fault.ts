export type Sentence = string

/** Why something does not work. `null`: it works. */
export type Fault = Sentence | null
