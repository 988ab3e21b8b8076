/** Why one object cannot be handled: a sentence without its subject, to which the caller adds the object's kind and name. */
export class Unfit extends Error {}
