/** JSON states that are loaded with their version, changed as ordinary values, and saved by compare-and-set. */
import type { MessageInitShape } from "@bufbuild/protobuf";

import { newRequestId, pause, type CallOptions, type Calls } from "./calls.js";
import {
  DeadlineExceeded,
  FailedPrecondition,
  Reason,
  StateSidecarError,
  Unavailable,
  VersionConflict,
  WriteOutcomeUnknown,
} from "./errors.js";
import {
  StateService,
  type CASRequestSchema,
  type CASResponse,
  type GetResponse,
} from "./gen/statesidecar/v1/state_service_pb.js";
import { Consistency, Durability, type OutboxMessageSchema, ServingMode } from "./gen/statesidecar/v1/types_pb.js";
import { decodeJson, encodeJson, JSON_CONTENT_TYPE } from "./json.js";
import { backoffMs } from "./retry.js";
import { bytesOf, durationOf } from "./values.js";

/** Messages that go out if, and only if, the save took effect. */
export type Outbox = readonly MessageInitShape<typeof OutboxMessageSchema>[];

/** How a state is loaded and saved. */
export interface StateOptions<S> extends CallOptions {
  /** The state of an absent key; copied. Unset: an empty object. */
  readonly default?: S;
  /** How long the state lives from each save. Unset: the namespace's ttl. */
  readonly ttlMs?: number;
  /** The schema that the caller knows: the state is loaded and saved in it. Unset: in whichever it is. */
  readonly schema?: number;
}

/** How a session behaves. */
export interface SessionOptions<S> extends StateOptions<S> {
  /** How fresh the load has to be. Unset: CACHED. */
  readonly consistency?: Consistency;
  /**
   * What is saved where another writer was faster, made of the state that both began with, this session's and the
   * other's (undefined: it was deleted). Unset: `save` throws VersionConflict.
   */
  readonly onConflict?: (base: S, mine: S, theirs: S | undefined) => S | Promise<S>;
  /** Where the authority is away: "throw" (unset), or "continue" with the default state, which is not saved,
   * and without a save. */
  readonly onOutage?: "throw" | "continue";
}

/** How a state is updated. */
export interface UpdateOptions<S> extends StateOptions<S> {
  /** Saves that may be lost to other writers. Unset: 100. */
  readonly attemptsMax?: number;
  /** Messages that are committed with the save, or what makes them of the state that is saved. */
  readonly outbox?: Outbox | ((state: S) => Outbox);
}

/** What an update did. */
export interface StateUpdate<S> {
  readonly state: S;
  readonly version: bigint;
  /** UNSPECIFIED: nothing had to be written. */
  readonly durability: Durability;
  readonly mode: ServingMode;
  /** How often the function ran. */
  readonly attempts: number;
}

// Between two attempts of a contended compare-and-set: short, because the winner is done already.
const CONTENTION = { backoffInitialMs: 5, backoffMaxMs: 250 };
const LOSSES_MAX = 20;

/** A state as it was loaded: the text of its JSON says whether it has changed since. */
interface Loaded {
  readonly text: string;
  readonly version: bigint;
  readonly schema: number;
  readonly mode: ServingMode;
  readonly found: boolean;
}

/** A save, sent or to be sent. */
interface Commit {
  readonly text: string;
  readonly messages: number;
  readonly request: MessageInitShape<typeof CASRequestSchema>;
}

/** A state while it is worked on. */
export class Session<S> {
  /** A JSON value, to be changed or assigned. */
  state: S;
  /** Messages to commit with the next save, which is then made also if the state is unchanged. Saved, they are taken out. */
  outbox: MessageInitShape<typeof OutboxMessageSchema>[] = [];
  #durability = Durability.UNSPECIFIED;
  #mode: ServingMode;
  #base: Loaded;
  /** A save whose outcome is not known. */
  #unsettled: Commit | undefined;
  readonly #loaded: boolean;
  readonly #store: States<S>;
  readonly #options: SessionOptions<S>;

  private constructor(store: States<S>, base: Loaded | undefined, options: SessionOptions<S>) {
    this.#store = store;
    this.#options = options;
    this.#loaded = base !== undefined;
    this.#base = base ?? store.absent(ServingMode.PASSTHROUGH);
    this.#mode = this.#base.mode;
    this.state = JSON.parse(this.#base.text) as S;
  }

  /** For `client.load`. */
  static async load<S>(calls: Calls, namespace: string, key: string, options: SessionOptions<S>): Promise<Session<S>> {
    const store = new States(calls, namespace, key, options);
    try {
      return new Session(store, await store.load(options.consistency ?? Consistency.CACHED), options);
    } catch (error) {
      const away = error instanceof Unavailable || error instanceof DeadlineExceeded;
      if (!away || options.onOutage !== "continue") throw error;
      return new Session<S>(store, undefined, options);
    }
  }

  /** The version that was loaded, or saved. 0n: the state is new. */
  get version(): bigint {
    return this.#base.version;
  }

  /** PASSTHROUGH: the authority is away. */
  get mode(): ServingMode {
    return this.#mode;
  }

  /** What became of the last save. UNSPECIFIED: nothing was saved (yet). */
  get durability(): Durability {
    return this.#durability;
  }

  /**
   * Saves the state if it has changed, or there are messages; whether it was written. It can be changed and saved again.
   *
   * Throws VersionConflict if another writer was faster and there is no `onConflict`, or after 20 lost saves. After
   * WriteOutcomeUnknown, the next `save` first repeats what was sent, under its request id, and so learns the truth.
   */
  async save(): Promise<boolean> {
    for (let losses = 0; this.#loaded;) {
      const commit = this.#unsettled ?? this.#commit();
      if (!commit) return false;
      try {
        const written = await this.#unlessAway(() => this.#send(commit));
        if (!written) return false;
        if (commit.text !== encodeJson(this.state) || this.outbox.length > 0) continue; // What came after it
        return written.durability !== Durability.DISCARDED;
      } catch (error) {
        if (!lost(error) || !this.#options.onConflict || ++losses > LOSSES_MAX) throw error;
      }
      await pause(backoffMs(losses, CONTENTION, Math.random), this.#options.signal);
      await this.#resolve(this.#options.onConflict);
    }
    return false;
  }

  /** What there is to save. */
  #commit(): Commit | undefined {
    const text = encodeJson(this.state);
    const messages = this.outbox.length;
    if (text === this.#base.text && messages === 0) return undefined;
    return { text, messages, request: this.#store.request(text, this.#base, this.outbox) };
  }

  async #send(commit: Commit): Promise<CASResponse> {
    this.#unsettled = commit;
    try {
      const written = await this.#store.save(commit.request);
      this.#unsettled = undefined;
      this.#durability = written.durability;
      this.#mode = written.mode;
      this.#base = { ...this.#base, text: commit.text, version: written.version };
      this.outbox.splice(0, commit.messages);
      return written;
    } catch (error) {
      // Of what is no answer, as a signal's reason, the outcome is not known either
      if (error instanceof StateSidecarError && !(error instanceof WriteOutcomeUnknown)) this.#unsettled = undefined;
      throw error;
    }
  }

  async #resolve(decide: NonNullable<SessionOptions<S>["onConflict"]>): Promise<void> {
    const theirs = await this.#unlessAway(() => this.#store.load(Consistency.STRONG));
    if (!theirs) return;
    const copy = (text: string) => JSON.parse(text) as S;
    const mine = copy(encodeJson(this.state)); // What would be stored
    this.state = await decide(copy(this.#base.text), mine, theirs.found ? copy(theirs.text) : undefined);
    this.#base = theirs;
  }

  /** Undefined where the authority is away and the session is to go on without. */
  async #unlessAway<T>(attempt: () => Promise<T>): Promise<T | undefined> {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      this.#mode = ServingMode.PASSTHROUGH;
      if (this.#options.onOutage !== "continue") throw error;
      return undefined;
    }
  }
}

/** Runs `change` on a state and saves what it made of it, again and again until no other writer was faster. */
export async function update<S>(
  calls: Calls,
  namespace: string,
  key: string,
  change: (state: S) => S | void | Promise<S | void>,
  options: UpdateOptions<S>,
): Promise<StateUpdate<S>> {
  const store = new States(calls, namespace, key, options);
  let consistency = Consistency.CACHED;
  for (let attempts = 1, losses = 0; ; attempts++) {
    const base = await store.load(consistency);
    const given = JSON.parse(base.text) as S;
    const state = ((await change(given)) ?? given) as S;
    const text = encodeJson(state);
    if (text === base.text) {
      const { version, mode } = base;
      if (consistency === Consistency.STRONG) {
        return { state, version, durability: Durability.UNSPECIFIED, mode, attempts };
      }
      consistency = Consistency.STRONG; // That there is nothing to do is true only of the newest state
      continue;
    }
    const outbox = typeof options.outbox === "function" ? options.outbox(state) : (options.outbox ?? []);
    try {
      const { version, durability, mode } = await store.save(store.request(text, base, outbox));
      return { state, version, durability, mode, attempts };
    } catch (error) {
      if (!lost(error) || ++losses >= (options.attemptsMax ?? 100)) throw error;
    }
    consistency = Consistency.STRONG;
    await pause(backoffMs(losses, CONTENTION, Math.random), options.signal);
  }
}

/** Loads and saves one key. */
class States<S> {
  readonly #calls: Calls;
  readonly #namespace: string;
  readonly #key: string;
  readonly #options: StateOptions<S>;

  constructor(calls: Calls, namespace: string, key: string, options: StateOptions<S>) {
    this.#calls = calls;
    this.#namespace = namespace;
    this.#key = key;
    this.#options = options;
  }

  /** Throws Unavailable where nothing was read because the authority is away. */
  async load(consistency: Consistency): Promise<Loaded> {
    const request = {
      namespace: this.#namespace,
      key: this.#key,
      consistency,
      maxSchemaVersion: this.#options.schema ?? 0,
    };
    const reply: GetResponse = await this.#calls.call(StateService.method.get, request, this.#options);
    if (reply.mode === ServingMode.PASSTHROUGH) {
      throw new Unavailable(Reason.passthrough, "the authority is away: the state was not read");
    }
    const { entry, mode } = reply;
    if (!entry) return this.absent(mode);
    const text = encodeJson(decodeJson(entry.value));
    return { text, version: entry.version, schema: entry.schemaVersion, mode, found: true };
  }

  absent(mode: ServingMode): Loaded {
    return { text: encodeJson(this.#options.default ?? {}), version: 0n, schema: 0, mode, found: false };
  }

  /** The write that saves a state which was loaded so, with a request id that it keeps. */
  request(text: string, base: Loaded, outbox: Outbox): MessageInitShape<typeof CASRequestSchema> {
    const { ttlMs, schema } = this.#options;
    return {
      namespace: this.#namespace,
      key: this.#key,
      value: bytesOf(text),
      contentType: JSON_CONTENT_TYPE,
      schemaVersion: schema || base.schema,
      expectedVersion: base.version,
      outbox: [...outbox],
      requestId: newRequestId(),
      ...(ttlMs === undefined ? {} : { ttl: durationOf(ttlMs) }),
    };
  }

  save(request: MessageInitShape<typeof CASRequestSchema>): Promise<CASResponse> {
    return this.#calls.call(StateService.method.cAS, request, this.#options);
  }
}

/** Whether the save can be tried again on a newer state; of another epoch is newer, too. */
function lost(error: unknown): boolean {
  if (error instanceof VersionConflict) return true;
  return error instanceof FailedPrecondition && error.reason === Reason.epochChanged;
}
