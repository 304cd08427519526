export { formatAddress, parseAddress } from "./address.ts";
export type {
  DescriptorAddress,
  ListenAddress,
  ListenProtocol,
  SystemdAddress,
  TcpAddress,
  UnixAddress,
} from "./address.ts";
export { DEFAULT_BACKOFF } from "./backoff.ts";
export type { BackoffOptions } from "./backoff.ts";
export { ChildHandle } from "./child-handle.ts";
export type { ChildExit, EndKind } from "./child-end.ts";
export type { ChildState } from "./child-handle.ts";
export { SUPERVISOR_ERRORS, SupervisorError } from "./errors.ts";
export type { SupervisorErrorCode } from "./errors.ts";
export { EVENT_LEVELS } from "./events.ts";
export type { ChildFacts, EventLevel, GroupEvent, GroupEventType, HangKind } from "./events.ts";
export type { GroupLog, ProcessGroupOptions, ReloadOptions } from "./group-options.ts";
export { DEFAULT_HEARTBEAT } from "./heartbeat.ts";
export type { HeartbeatOptions } from "./heartbeat.ts";
export { findIdentity } from "./identity.ts";
export type { Identity } from "./identity.ts";
export { BoundListener, DEFAULT_BACKLOG } from "./listener.ts";
export type { BindOptions } from "./listener.ts";
export type { Beat, ChildFailure, InheritedListener, StackReport, StopMode } from "./messages.ts";
export { writePidFile } from "./pid-file.ts";
export type { PidFile } from "./pid-file.ts";
export type { NamedListener } from "./handover.ts";
export { Predecessor, predecessor } from "./predecessor.ts";
export { Successor } from "./successor.ts";
export { processSpace, processState } from "./process-state.ts";
export type { ProcessState } from "./process-state.ts";
export { ProcessGroup } from "./process-group.ts";
export { SignalQueue } from "./signals.ts";
export type { SignalAction, SignalQueueOptions } from "./signals.ts";
