/**
 * Looking at the world while deciding. In the sandbox Paramedic answers, in a test a `World` of testing.js does. What a policy does
 * not declare, or the policy file does not grant, throws `AccessDenied`.
 */

/** A lookup has no answer; the message is one sentence for people. Its subclasses, and `case`, say why. */
export class LookupFailed extends Error {
  name = "LookupFailed";
  case = "other";
}

const failure = (name, word) => class extends LookupFailed {
  name = name;
  case = word;
};

/** The policy file does not grant it, or the plugin does not declare it. */
export const AccessDenied = failure("AccessDenied", "access-denied");
/** There is no such thing. */
export const NotFound = failure("NotFound", "not-found");
/** The question itself is wrong. */
export const Invalid = failure("Invalid", "invalid");
/** Too many lookups, too long a question, or an answer that is too large. */
export const LimitExceeded = failure("LimitExceeded", "limit-exceeded");
/** Whoever would know could not be asked, or did not answer in time. */
export const Unavailable = failure("Unavailable", "unavailable");

let world;

/** Puts another one there to answer; gives the one before. */
export function answerWith(other) {
  const before = world;
  world = other;
  return before;
}

function ask() {
  if (world) return world;
  throw new Error("the policy looks something up, and nobody answers: ask it through a `World` of testing.js");
}

/** Containers; only those that the policy file grants are seen. */
export const containers = Object.freeze({
  /** Those of a Docker host that have all these labels, in the order of their names; at most 200. */
  find: (host, labels = {}) => ask().find(host, labels),
  /** One, by its unique name such as `local/web`. Throws `NotFound`. */
  inspect: (target) => ask().inspect(target),
  /** The last lines of what it wrote, oldest first; at most 200. */
  logTail: (target, lines = 20) => ask().logTail(target, lines),
});

/** Prometheus. */
export const metrics = Object.freeze({
  /** An instant vector or a scalar at the time of the question. Text from an alert belongs into it only through `quote`. */
  query: (promql) => ask().query(promql),
  quote,
});

/** Other incidents. */
export const history = Object.freeze({
  /** Those about that target that were opened within so many milliseconds before now, newest first; at most 50. */
  ofTarget: (target, within) => ask().ofTarget(target, within),
});

/** Words for the journal, shown with the decision. Outside of Paramedic nobody listens, except a `World`. */
export const log = Object.freeze({
  debug: (message) => world?.log("debug", String(message)),
  info: (message) => world?.log("info", String(message)),
  warn: (message) => world?.log("warn", String(message)),
  error: (message) => world?.log("error", String(message)),
});

/** Text as a string of PromQL, quotes included: whatever it holds, it stays one string. */
export function quote(text) {
  const escaped = String(text).replace(/["\\\n\u0000-\u001f\u007f-\u009f]/g, (c) => {
    if (c === "\n") return "\\n";
    return c === '"' || c === "\\" ? `\\${c}` : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
  return `"${escaped}"`;
}
