/** For tests without wasm: incidents as they could be, and a made-up world that lookups are answered from. */

import { Incident } from "./incident.js";
import { LookupFailed, NotFound, answerWith } from "./lookup.js";
import { readSettings } from "./settings.js";
import { wasBegun } from "./words.js";

/** When the incidents of tests take place: 2023-11-14T22:13:20Z. */
export const TEST_TIME = 1_700_000_000_000;

/** An alert of Prometheus that fires for `after` milliseconds. */
export function firing(alertname, { labels = {}, annotations = {}, targets = [], attempts = [], trigger, after = 15_000 } = {}) {
  let now = TEST_TIME + after;
  const told = attempts.map((attempt, i) => {
    const startedAt = now;
    now += 60_000;
    return { extra: [], ...attempt, number: i + 1, startedAt, endedAt: now };
  });
  return new Incident({
    id: "0123456789abcdef-1",
    alert: {
      source: "prometheus", status: "firing", labels: { alertname, ...labels }, annotations,
      startsAt: TEST_TIME, firstSeen: TEST_TIME, generatorUrl: "", extra: [],
    },
    trigger: trigger ?? (told.length > 0 ? "not-healed" : "alert"),
    attempts: told,
    targets: targets.map((t) => ({ state: "unknown", inventoryHost: undefined, extra: [], ...(typeof t === "string" ? { name: t } : t) })),
    now,
  });
}

/** An attempt of one action that did not heal. */
export function tried(kind, target, outcome = "succeeded", { detail = "", message = "" } = {}) {
  const verification = wasBegun(outcome) ? "not-healed" : "none";
  return { actions: [{ kind, target, outcome, detail, message, extra: [] }], verification };
}

/** A container as it could be. */
export const container = (name, more = {}) => ({
  name, state: "running", health: "none", labels: {}, id: "0123456789ab", image: "", startedAt: undefined, finishedAt: undefined,
  exitCode: undefined, restartCount: 0, extra: [], ...more,
});

/**
 * Answers lookups with what it was given, or throws the error that stands in its place. A query, log or history that nobody made up
 * fails the test. What was asked is in `asked`, what was logged in `said`.
 */
export class World {
  asked = [];
  said = [];
  #known;
  #now = TEST_TIME;

  constructor({ containers = [], metrics = {}, logs = {}, history = {} } = {}) {
    this.#known = { containers, metrics, logs, history };
  }

  /** Asks a policy, with settings as an operator would write them, while this world answers. */
  ask(plugin, incident, settings = {}) {
    this.#now = incident.now;
    const before = answerWith(this);
    try {
      return plugin.decide(incident, readSettings(plugin.settings, settings));
    } finally {
      answerWith(before);
    }
  }

  find(host, labels) {
    const fits = (c) => c.name.startsWith(`${host}/`) && Object.entries(labels).every(([key, value]) => c.labels[key] === value);
    return this.#containers(`containers ${host} ${JSON.stringify(labels)}`).filter(fits);
  }

  inspect(target) {
    const found = this.#containers(`containers ${target}`).find((c) => c.name === target);
    if (!found) throw new NotFound(`there is no container ${target}`);
    return found;
  }

  logTail(target, lines) {
    return this.#answer("logs", target, `log ${target} ${lines}`).slice(-lines);
  }

  query(promql) {
    return this.#answer("metrics", promql, `metrics ${promql}`).map((s) => ({ labels: {}, at: this.#now, ...s }));
  }

  ofTarget(target, within) {
    const all = this.#answer("history", target, `history ${target} ${within}`);
    return all.filter((p) => this.#now - p.openedAt <= within).sort((a, b) => b.openedAt - a.openedAt);
  }

  log(level, message) {
    this.said.push([level, message]);
  }

  #containers(question) {
    this.asked.push(question);
    const { containers } = this.#known;
    if (containers instanceof LookupFailed) throw containers;
    return [...containers].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  #answer(kind, key, question) {
    this.asked.push(question);
    const answers = this.#known[kind];
    if (!Object.hasOwn(answers, key)) throw new Error(`the policy asks \`${question}\`, and this world has no answer: give it one`);
    if (answers[key] instanceof LookupFailed) throw answers[key];
    return answers[key];
  }
}
