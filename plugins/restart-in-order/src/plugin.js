/**
 * Restarts what a service depends on, then the service, then what depends on it: one at a time, each looked at before the next.
 *
 * One act is about one target. After each attempt Paramedic looks whether the alert is over; when it is not, this policy is asked again,
 * sees in the history how far it came, and takes the next step. The order is a chain in the settings, or is found in the containers'
 * labels. Absent on purpose: restarting two at once, and guessing an order where the labels go round in a circle.
 */

import { CannotDecide, Decision, Kind, Lookup, LookupFailed, Proposal, containers, policy } from "../sdk/index.js";

/** More than that is no order that anybody has thought through. */
const MOST = 16;

/** @typedef {{ chain?: string[], label: string, grace_seconds?: number, dependents: boolean }} Settings */
const settings = {
  type: "object",
  additionalProperties: false,
  properties: {
    chain: {
      type: "array",
      minItems: 1,
      items: { type: "string", pattern: "^[^/]+/[^/]+$" },
      description: "The containers in the order of their restarts, as docker-host/name; without it the order is found in labels",
    },
    label: { type: "string", minLength: 1, default: "paramedic.after", description: "The label that names what a container depends on" },
    dependents: { type: "boolean", default: true, description: "Restart what depends on the alert's container as well" },
    grace_seconds: { type: "integer", minimum: 0, description: "How many seconds a container may take to stop" },
  },
};

/** What a schema cannot say. */
function check(/** @type {Settings} */ { chain }) {
  if (!chain) return;
  if (chain.length === 0 || chain.length > MOST) throw new Error(`settings.chain has to name 1 to ${MOST} containers`);
  const twice = chain.find((name, i) => chain.indexOf(name) !== i);
  if (twice) throw new Error(`settings.chain names ${twice} twice`);
}

export default policy({
  name: "restart-in-order",
  version: "0.1.0",
  description: "Restarts a dependency and then those that hang on it, one verified step at a time",
  actions: [Kind.DOCKER_RESTART],
  lookups: [Lookup.CONTAINERS],
  settings,
  check,
  decide(incident, /** @type {Settings} */ settings) {
    if (incident.trigger === "denied") {
      return Decision.escalate("a person said no to a restart, and what comes after it may not be restarted alone");
    }
    check(settings);
    try {
      return step(incident, settings);
    } catch (error) {
      if (error instanceof LookupFailed) return Decision.escalate(`the order of restarts cannot be found out: ${error.message}`);
      if (error instanceof CannotDecide) return Decision.escalate(error.message);
      throw error;
    }
  },
});

/** The next restart, or a person. */
function step(incident, settings) {
  const order = settings.chain ?? fromLabels(incident, settings);
  const last = incident.attempts.at(-1)?.actions.at(-1);
  const again = incident.mayBeginAgain;
  if (last && last.outcome !== "succeeded" && !again) {
    return Decision.escalate(`the order ${order.join(", ")} stops at ${last.target}, whose restart ended as ${last.outcome}: ${last.message}`);
  }
  const counts = order.map((name) => incident.begunOn(name).length);
  const round = Math.max(1, ...counts);
  const behind = counts.findIndex((count) => count < round);
  if (behind < 0 && !again) {
    return Decision.escalate(`${incident.name} still fires after all of ${order.join(", ")} were restarted: ${incident.whatWasTried()}`);
  }
  const at = behind < 0 ? 0 : behind;
  const why = `${incident.name} fires: step ${at + 1} of ${order.length} in the order ${order.join(", ")}`;
  return Decision.act(`${why}: restart ${order[at]}`, Proposal.restart(order[at], { graceSeconds: settings.grace_seconds }));
}

/** Dependencies first, then the alert's container, then what depends on it. */
function fromLabels(incident, settings) {
  const [target] = incident.candidates();
  if (!target) throw new CannotDecide(`${incident.name} names no container: set settings.chain, or map the alert under \`targets\` in paramedic.yaml`);
  const host = target.name.split("/")[0];
  const after = new Map(containers.find(host).map((c) => [c.name, dependencies(host, c.labels[settings.label])]));
  if (!after.has(target.name)) throw new CannotDecide(`${target.name} is not among the containers that this policy may see: grant it under grants.docker.inspect`);
  const order = [];
  visit(target.name, after, order, []);
  if (settings.dependents) {
    const reached = new Set([target.name]);
    for (let before = 0; before !== reached.size; ) {
      before = reached.size;
      for (const [name, needs] of after) if (needs.some((need) => reached.has(need))) reached.add(name);
    }
    for (const name of reached) visit(name, after, order, []);
  }
  if (order.length > MOST) throw new CannotDecide(`the order has ${order.length} containers, more than ${MOST}: write the ones that matter into settings.chain`);
  return order;
}

/** `db, cache` of a label as names of containers. */
function dependencies(host, label = "") {
  const names = label.split(",").map((name) => name.trim()).filter((name) => name !== "");
  return names.map((name) => (name.includes("/") ? name : `${host}/${name}`));
}

function visit(name, after, order, path) {
  if (order.includes(name)) return;
  if (path.includes(name)) throw new CannotDecide(`the labels go round in a circle: ${[...path, name].join(" after ")}`);
  const needs = after.get(name);
  if (!needs) throw new CannotDecide(`${path.at(-1)} comes after ${name}, which does not exist or is not granted under grants.docker.inspect`);
  for (const need of needs) visit(need, after, order, [...path, name]);
  order.push(name);
}
