/**
 * The settings: a script of steps, the decision to answer, and values of every type.
 *
 * Numbers that may be larger than what every language's JSON keeps exactly are written as text.
 */

const text = { type: "string" };
const texts = { type: "array", items: text };
const object = (properties, required = []) => ({ type: "object", additionalProperties: false, properties, required });

const step = object(
  {
    do: { enum: ["tell", "find", "inspect", "log-tail", "query", "past", "log", "print", "fail"] },
    what: { enum: ["id", "alert", "trigger", "attempts", "targets", "values", "now", "derived"] },
    host: text,
    labels: { type: "object", additionalProperties: text },
    target: text,
    lines: { type: "integer", minimum: 0 },
    promql: text,
    within_ms: text,
    level: { enum: ["debug", "info", "warn", "error"] },
    message: text,
    times: { type: "integer", minimum: 0, default: 1 },
    text,
    how: { enum: ["cannot-decide", "bug", "recursion", "nothing", "half-a-character", "no-text", "bug-in-check"] },
  },
  ["do"],
);

const values = {
  ...object({
    text: { type: "string", default: "nothing" },
    maybe: { type: ["string", "null"], default: null },
    whole: { type: "integer", default: 7 },
    number: { type: "number", default: 0.5 },
    flag: { type: "boolean", default: false },
    word: { enum: ["red", "dark-green"], default: "red" },
    names: { ...texts, default: ["first"] },
    table: { type: "object", additionalProperties: { type: "integer" }, default: {} },
    anything: { default: null },
  }),
  default: {}, // and then those of its parts
};

const match = object({ name: text, op: text, value: text }, ["name", "op", "value"]);

const wanted = object(
  {
    kind: {
      enum: [
        "docker.restart", "docker.start", "docker.stop", "docker.pause", "docker.unpause", "docker.kill", "ansible.playbook",
        "alertmanager.silence", "alertmanager.expire", "notify.send",
      ],
    },
    target: text,
    about: text,
    grace_seconds: { type: "integer", minimum: 0 },
    signal: text,
    name: text,
    host: text,
    variables: { type: "object" },
    tags: texts,
    check: { type: "boolean" },
    matchers: { type: "array", items: match },
    ms: text,
    comment: text,
    id: text,
    channel: text,
    text,
  },
  ["kind"],
);

const decision = object(
  {
    answer: { enum: ["pass", "ignore", "act", "wait", "escalate"] },
    reason: text,
    proposals: { type: "array", items: wanted, default: [] },
    ms: text,
  },
  ["answer", "reason"],
);

export const settings = object(
  {
    script: { type: "array", items: step, default: [], description: "What to do first, in this order" },
    strict: { type: "boolean", default: false, description: "Let the error of a lookup through instead of telling it" },
    values: { ...values, description: "Values to be told again" },
    decision: { ...decision, description: "What to answer" },
  },
  ["decision"],
);
