/** The newest version seen of each key: sent with reads, so that a caller reads its own writes through any sidecar. */
const KEYS_MAX = 10_000;

/** A bounded memory; a forgotten key costs a possibly older read, never a wrong one. */
export class Floors {
  readonly #keysMax: number;
  readonly #versions = new Map<string, bigint>();

  constructor(keysMax: number = KEYS_MAX) {
    this.#keysMax = keysMax;
  }

  /** Remembers `version` unless a newer one is known. 0n is no version. */
  observe(namespace: string, key: string, version: bigint): void {
    if (version <= 0n) return;
    const name = nameOf(namespace, key);
    const known = this.#versions.get(name) ?? 0n;
    this.#versions.delete(name); // A Map keeps the order of insertion: what was seen last goes behind the others
    this.#versions.set(name, version > known ? version : known);
    if (this.#versions.size > this.#keysMax) this.#versions.delete(this.#versions.keys().next().value!);
  }

  /** The newest version seen. 0n: none. */
  get(namespace: string, key: string): bigint {
    return this.#versions.get(nameOf(namespace, key)) ?? 0n;
  }

  /** Drops what is known, where the authority has gone back in time. */
  forget(namespace: string, key: string): void {
    this.#versions.delete(nameOf(namespace, key));
  }
}

function nameOf(namespace: string, key: string): string {
  return `${namespace}\0${key}`; // A namespace has no control characters
}
