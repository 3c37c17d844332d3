/** States as JSON, exactly: what JSON or JavaScript cannot say is an error, never another value. */
import { FailedPrecondition, InvalidRequest, Reason } from "./errors.js";

export const JSON_CONTENT_TYPE = "application/json";

const STRINGS = /"(?:[^"\\]|\\.)*"/g;
const INTEGERS = /(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g;
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The value as compact JSON. Throws InvalidRequest (NOT_JSON) for what JSON cannot say. */
export function encodeJson(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value, (_, part: unknown) => {
      if (typeof part === "number" && !Number.isFinite(part)) throw new TypeError(`${part} is not JSON`);
      return part;
    });
  } catch (error) {
    throw new InvalidRequest(Reason.notJson, `the state is not JSON: ${String(error)}`, { cause: error });
  }
  if (text === undefined) throw new InvalidRequest(Reason.notJson, `the state is not JSON: ${String(value)}`);
  return text;
}

/**
 * A stored value as JSON. Throws FailedPrecondition: NOT_JSON if it is none, NUMBER_UNSAFE if it holds an integer beyond
 * 2^53, which would be saved as another.
 */
export function decodeJson(value: Uint8Array): unknown {
  let text: string;
  let parsed: unknown;
  try {
    text = decoder.decode(value);
    parsed = JSON.parse(text);
  } catch (error) {
    throw new FailedPrecondition(Reason.notJson, `the stored value is not JSON: ${String(error)}`, { cause: error });
  }
  if (/\d{16}/.test(text)) {
    const unsafe = text
      .replace(STRINGS, '""')
      .match(INTEGERS)
      ?.find((digits) => !Number.isSafeInteger(Number(digits)));
    if (unsafe) throw new FailedPrecondition(Reason.numberUnsafe, `a number cannot hold ${unsafe} exactly`);
  }
  return parsed;
}
