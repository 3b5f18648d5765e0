/** The JavaScript SDK for Paramedic's policy plugins: a policy is a plain function from an incident to a decision. */

export { CannotDecide, Decision, Proposal } from "./decision.js";
export { Incident, containerOf } from "./incident.js";
export {
  AccessDenied, Invalid, LimitExceeded, LookupFailed, NotFound, Unavailable, containers, history, log, metrics, quote,
} from "./lookup.js";
export { policy } from "./plugin.js";
export { DURATION, SettingsError, duration } from "./settings.js";
export { Kind, Lookup, isDown, wasBegun } from "./words.js";
