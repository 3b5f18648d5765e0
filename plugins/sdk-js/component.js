/** Between the contract and the plain data: what becomes the component. Authors export a policy from src/plugin and never see this. */

import * as alertmanager from "paramedic:policy/alertmanager@1.0.0";
import * as ansible from "paramedic:policy/ansible@1.0.0";
import * as wit from "paramedic:policy/containers@1.0.0";
import * as docker from "paramedic:policy/docker@1.0.0";
import * as past from "paramedic:policy/history@1.0.0";
import * as told from "paramedic:policy/incident@1.0.0";
import * as journal from "paramedic:policy/log@1.0.0";
import * as prometheus from "paramedic:policy/metrics@1.0.0";
import * as notify from "paramedic:policy/notify@1.0.0";

import plugin from "../src/plugin.js";
import { CannotDecide } from "./decision.js";
import { Incident } from "./incident.js";
import * as lookup from "./lookup.js";
import { SettingsError, readSettings } from "./settings.js";

export const lifecycle = {
  describe() {
    const { name, version, description, actions, lookups, settings } = plugin;
    return { name, version, description, actions: [...actions], lookups: [...lookups], settingsSchema: JSON.stringify(settings), extra: [] };
  },
  check(text) {
    try {
      const settings = readSettings(plugin.settings, JSON.parse(text));
      plugin.check?.(settings);
    } catch (error) {
      throw String(error?.message ?? error).toWellFormed();
    }
  },
};

export const handler = {
  decide() {
    lookup.answerWith(paramedic);
    try {
      return handOver(plugin.decide(incident(), readSettings(plugin.settings, JSON.parse(told.settings()))));
    } catch (error) {
      throw why(error).toWellFormed();
    }
  },
};

/** What is thrown across the border is the error text of the contract. */
function why(error) {
  if (error instanceof SettingsError) return `the policy's settings do not fit this plugin: ${error.message}`;
  if (error instanceof lookup.LookupFailed) return error.case === "other" ? error.message : `${error.case.replace("-", " ")}: ${error.message}`;
  if (error instanceof CannotDecide) return error.message;
  if (!(error instanceof Error)) return `the plugin failed: it threw ${String(error)}`;
  paramedic.log("error", `${error.name}: ${error.message}\n${error.stack ?? ""}`);
  return `the plugin failed: ${error.name}: ${error.message}`;
}

/** Who answers lookups in the sandbox. */
const paramedic = {
  find: (host, labels) => ask(wit.find, text(host), toPairs(labels, text)).map(container),
  inspect: (target) => container(ask(wit.inspect, text(target))),
  logTail: (target, lines) => ask(wit.logTail, text(target), u32(lines ?? Number.NaN)),
  query: (promql) =>
    ask(prometheus.query, text(promql)).map(({ labels, value, at }) => ({ value, labels: fromPairs(labels), at: Number(at) })),
  ofTarget: (target, within) => ask(past.ofTarget, text(target), millis(within)).map(pastIncident),
  log: (level, message) => journal.log(level, message.toWellFormed()),
};

/** The engine has no console: what is printed goes to the journal. */
const printed = (level) => (...words) => paramedic.log(level, words.map(shown).join(" "));
const shown = (word) => (typeof word === "object" && !(word instanceof Error) ? JSON.stringify(word) : String(word));
globalThis.console ??= {
  debug: printed("debug"), log: printed("info"), info: printed("info"), warn: printed("warn"), error: printed("error"),
};

const FAILURES = {
  "access-denied": lookup.AccessDenied,
  "not-found": lookup.NotFound,
  invalid: lookup.Invalid,
  "limit-exceeded": lookup.LimitExceeded,
  unavailable: lookup.Unavailable,
};

function ask(question, ...words) {
  try {
    return question(...words);
  } catch (error) {
    if (error?.payload?.tag === undefined) throw error;
    const { tag, val } = error.payload;
    throw new (FAILURES[tag] ?? lookup.LookupFailed)(val);
  }
}

function incident() {
  const alert = told.alert();
  return new Incident({
    id: told.id(),
    alert: {
      ...alert,
      labels: fromPairs(alert.labels),
      annotations: fromPairs(alert.annotations),
      startsAt: Number(alert.startsAt),
      firstSeen: Number(alert.firstSeen),
    },
    trigger: told.trigger(),
    attempts: told.attempts().map(attempt),
    targets: told.targets().map((target) => ({ ...target, inventoryHost: target.inventoryHost ?? undefined })),
    now: Number(told.now()),
  });
}

// The engine hands over a u32 beyond 2147483647 as a negative number; `>>> 0` mends that and changes no other.
const attempt = (of) => ({ ...of, number: of.number >>> 0, startedAt: Number(of.startedAt), endedAt: Number(of.endedAt) });
const maybe = (number) => (number === undefined || number === null ? undefined : Number(number));
const pastIncident = (of) => ({
  ...of, openedAt: Number(of.openedAt), closedAt: maybe(of.closedAt), attempts: of.attempts.map(attempt),
});
const container = (of) => ({
  ...of, labels: fromPairs(of.labels), startedAt: maybe(of.startedAt), finishedAt: maybe(of.finishedAt), exitCode: maybe(of.exitCode),
  restartCount: of.restartCount >>> 0,
});

/** A label may be called `__proto__`, which assigning would lose. */
function fromPairs(pairs) {
  return Object.fromEntries(pairs);
}

function handOver(decision) {
  const { word, reason, proposals, duration } = decision ?? {};
  if (word === "act") return { tag: word, val: { reason: text(reason), proposals: proposals.map(propose) } };
  if (word === "wait") return { tag: word, val: { reason: text(reason), duration: millis(duration) } };
  if (word === "pass" || word === "ignore" || word === "escalate") return { tag: word, val: text(reason) };
  throw new CannotDecide(`the plugin answers ${JSON.stringify(decision)}, not a Decision`);
}

const PROPOSE = {
  "docker.restart": (p) => docker.restart(text(p.target), u32(p.graceSeconds)),
  "docker.start": (p) => docker.start(text(p.target)),
  "docker.stop": (p) => docker.stop(text(p.target), u32(p.graceSeconds)),
  "docker.pause": (p) => docker.pause(text(p.target)),
  "docker.unpause": (p) => docker.unpause(text(p.target)),
  "docker.kill": (p) => docker.kill(text(p.target), maybeText(p.signal)),
  "ansible.playbook": (p) => ansible.playbook(text(p.name), text(p.target), {
    host: maybeText(p.host),
    variables: toPairs(p.variables, written),
    tags: [...p.tags].map(text),
    check: Boolean(p.check),
    extra: [],
  }),
  "alertmanager.silence": (p) => alertmanager.silence(text(p.target), p.matchers.map(matcher), millis(p.duration), text(p.comment)),
  "alertmanager.expire": (p) => alertmanager.expire(text(p.target), maybeText(p.id)),
  "notify.send": (p) => notify.send(text(p.target), text(p.channel), text(p.text)),
};

const matcher = ({ name, op, value }) => ({ name: text(name), op: text(op), value: text(value) });

function propose(proposal) {
  const make = Object.hasOwn(PROPOSE, proposal?.kind) ? PROPOSE[proposal.kind] : undefined;
  if (!make) throw new CannotDecide(`the plugin proposes ${JSON.stringify(proposal)}, which this SDK cannot express`);
  return make(proposal);
}

/** Names and values in the order of the names; objects have an order of their own. */
function toPairs(object, value) {
  const pairs = Object.entries(object).map(([name, of]) => [text(name), value(of)]);
  return pairs.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** JSON. Half of a character would be an escape that is none. */
const written = (value) => JSON.stringify(value ?? null, (_, part) => (typeof part === "string" ? part.toWellFormed() : part));

/** Text that can be handed over: anything else would be a crash, and half of a character is one that nobody knows. */
function text(value) {
  if (typeof value !== "string") throw new TypeError(`the plugin hands over ${String(value)} where text belongs`);
  return value.toWellFormed();
}

const maybeText = (value) => (value === undefined || value === null ? undefined : text(value));

function whole(value, most) {
  const number = Number(value);
  if (Number.isNaN(number)) throw new TypeError(`the plugin hands over ${String(value)} where a number belongs`);
  return Math.min(Math.max(Math.trunc(number), 0), most);
}

/** The engine takes a u32 as the signed number of the same bits. */
const u32 = (value) => (value === undefined || value === null ? undefined : whole(value, 0xffffffff) | 0);

/** The engine takes a u64 as a number, exact up to 2 ** 53; never as a BigInt. */
const millis = (duration) => whole(duration ?? Number.NaN, 2 ** 64);
