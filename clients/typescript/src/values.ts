/** From values of JavaScript to those of the messages. */
import { create } from "@bufbuild/protobuf";
import { DurationSchema, type Duration } from "@bufbuild/protobuf/wkt";

import { InvalidRequest, Reason } from "./errors.js";

const encoder = new TextEncoder();

/** Milliseconds as a Duration, to the nanosecond. Throws InvalidRequest for what is none. */
export function durationOf(ms: number): Duration {
  if (!Number.isFinite(ms)) throw new InvalidRequest("TTL_OUT_OF_RANGE", `a ttl of ${ms} ms`);
  const seconds = Math.trunc(ms / 1000);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) });
}

/** Text as UTF-8; bytes as they are. Throws InvalidRequest for text that UTF-8 cannot say. */
export function bytesOf(value: Uint8Array | string): Uint8Array {
  if (typeof value !== "string") return value;
  checkText(value);
  return encoder.encode(value);
}

/**
 * Throws InvalidRequest for a text with half a surrogate pair, anywhere in a message: encoded, all of them become the
 * same U+FFFD, and different keys one.
 */
export function checkText(part: unknown): void {
  if (typeof part === "string") {
    if (!part.isWellFormed())
      throw new InvalidRequest(Reason.requestMalformed, `no valid UTF-8: ${JSON.stringify(part)}`);
  } else if (typeof part === "object" && part !== null && !(part instanceof Uint8Array)) {
    for (const [name, value] of Object.entries(part)) {
      checkText(name);
      checkText(value);
    }
  }
}
