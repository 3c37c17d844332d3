/** TypeScript client of state-sidecar. The generated messages are in `state-sidecar-client/v1`. */
export { type CallOptions } from "./calls.js";
export { tokenFile, type TlsOptions, type Token } from "./channel.js";
export { StateClient, type ClientOptions, type ReadOptions, type Rpcs, type WriteOptions } from "./client.js";
export * from "./errors.js";
export { Consistency, Durability, EntrySchema, ServingMode, Tier, type Entry } from "./gen/statesidecar/v1/types_pb.js";
export { type RetryPolicy } from "./retry.js";
export {
  type Outbox,
  type Session,
  type SessionOptions,
  type StateOptions,
  type StateUpdate,
  type UpdateOptions,
} from "./session.js";
