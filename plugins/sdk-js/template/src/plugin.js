/**
 * Restarts the container that an alert is about; if that does not help, calls a person.
 *
 * A policy is a plain function from an incident to a decision. What it answers is only a proposal: Paramedic carries it out when the
 * policy file grants it.
 */

import { Decision, Kind, Proposal, policy } from "../sdk/index.js";

/** What an operator may write under `settings` of a policy file. */
const settings = {
  type: "object",
  additionalProperties: false,
  properties: {
    restarts: { type: "integer", minimum: 0, default: 1, description: "How many restarts are tried before a person is called" },
  },
};

export default policy({
  name: "{{name}}",
  version: "0.1.0",
  description: "Restarts the container an alert is about, then calls a person",
  actions: [Kind.DOCKER_RESTART],
  lookups: [], // what it may ever look at: Lookup.CONTAINERS, LOG_TAIL, METRICS, HISTORY
  settings,
  decide(incident, { restarts }) {
    const [target] = incident.targets;
    if (!target) {
      return Decision.escalate(`${incident.name} names no container: map it under \`targets\` in paramedic.yaml`);
    }
    // Every question is asked afresh; what was tried before is part of the incident.
    if (incident.tried(Kind.DOCKER_RESTART) < restarts) {
      return Decision.act(`${incident.name} fires: restart ${target.name}`, Proposal.restart(target.name));
    }
    return Decision.escalate(`${incident.name} fires, and nothing is left to try: ${incident.whatWasTried()}`);
  },
});
