/** The generated messages and services of statesidecar.v1. */
export * from "./gen/statesidecar/v1/admin_service_pb.js";
export * from "./gen/statesidecar/v1/outbox_service_pb.js";
export * from "./gen/statesidecar/v1/state_service_pb.js";
export * from "./gen/statesidecar/v1/types_pb.js";
