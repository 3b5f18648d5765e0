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
      throw error?.message ?? String(error);
    }
  },
};

export const handler = {
  decide() {
    lookup.answerWith(paramedic);
    try {
      return handOver(plugin.decide(incident(), readSettings(plugin.settings, JSON.parse(told.settings()))));
    } catch (error) {
      throw why(error);
    }
  },
};

/** What is thrown across the border is the error text of the contract. */
function why(error) {
  if (error instanceof SettingsError) return `the policy's settings do not fit this plugin: ${error.message}`;
  if (error instanceof lookup.LookupFailed) return error.case === "other" ? error.message : `${error.case}: ${error.message}`;
  if (error instanceof CannotDecide) return error.message;
  if (!(error instanceof Error)) return `the plugin failed: it threw ${String(error)}`;
  paramedic.log("error", `${error.name}: ${error.message}\n${error.stack ?? ""}`);
  return `the plugin failed: ${error.name}: ${error.message}`;
}

/** Who answers lookups in the sandbox. */
const paramedic = {
  find: (host, labels) => ask(wit.find, host, Object.entries(labels)).map(container),
  inspect: (target) => container(ask(wit.inspect, target)),
  logTail: (target, lines) => ask(wit.logTail, target, whole(lines, 0xffffffff)),
  query: (promql) =>
    ask(prometheus.query, promql).map(({ labels, value, at }) => ({ value, labels: fromPairs(labels), at: Number(at) })),
  ofTarget: (target, within) => ask(past.ofTarget, target, millis(within)).map(pastIncident),
  log: (level, message) => journal.log(level, message),
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

const attempt = (of) => ({ ...of, startedAt: Number(of.startedAt), endedAt: Number(of.endedAt) });
const maybe = (number) => (number === undefined || number === null ? undefined : Number(number));
const pastIncident = (of) => ({
  ...of, openedAt: Number(of.openedAt), closedAt: maybe(of.closedAt), attempts: of.attempts.map(attempt),
});
const container = (of) => ({
  ...of, labels: fromPairs(of.labels), startedAt: maybe(of.startedAt), finishedAt: maybe(of.finishedAt), exitCode: maybe(of.exitCode),
});

/** A label may be called `__proto__`, which assigning would lose. */
function fromPairs(pairs) {
  return Object.fromEntries(pairs);
}

function handOver(decision) {
  const { word, reason, proposals, duration } = decision ?? {};
  if (word === "act") return { tag: word, val: { reason, proposals: proposals.map(propose) } };
  if (word === "wait") return { tag: word, val: { reason, duration: millis(duration) } };
  if (word === "pass" || word === "ignore" || word === "escalate") return { tag: word, val: String(reason) };
  throw new CannotDecide(`the plugin answers ${JSON.stringify(decision)}, not a Decision`);
}

const PROPOSE = {
  "docker.restart": (p) => docker.restart(p.target, whole(p.graceSeconds, 0xffffffff)),
  "docker.start": (p) => docker.start(p.target),
  "docker.stop": (p) => docker.stop(p.target, whole(p.graceSeconds, 0xffffffff)),
  "docker.pause": (p) => docker.pause(p.target),
  "docker.unpause": (p) => docker.unpause(p.target),
  "docker.kill": (p) => docker.kill(p.target, p.signal),
  "ansible.playbook": (p) => ansible.playbook(p.name, p.target, {
    host: p.host,
    variables: Object.entries(p.variables).map(([name, value]) => [name, JSON.stringify(value ?? null)]),
    tags: [...p.tags],
    check: p.check,
    extra: [],
  }),
  "alertmanager.silence": (p) => alertmanager.silence(p.target, p.matchers, millis(p.duration), p.comment),
  "alertmanager.expire": (p) => alertmanager.expire(p.target, p.id),
  "notify.send": (p) => notify.send(p.target, p.channel, p.text),
};

function propose(proposal) {
  const make = Object.hasOwn(PROPOSE, proposal?.kind) ? PROPOSE[proposal.kind] : undefined;
  if (!make) throw new CannotDecide(`the plugin proposes ${JSON.stringify(proposal)}, which this SDK cannot express`);
  return make(proposal);
}

function whole(number, most) {
  if (number === undefined || number === null) return undefined;
  if (Number.isNaN(Number(number))) throw new CannotDecide(`the plugin hands over ${number}, which is no number`);
  return Math.min(Math.max(Math.trunc(Number(number)), 0), most);
}

/** Lengths of time are u64, which JavaScript keeps apart from its numbers. */
function millis(duration) {
  return BigInt(whole(duration ?? Number.NaN, Number.MAX_SAFE_INTEGER));
}
