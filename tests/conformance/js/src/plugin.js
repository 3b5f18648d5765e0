/**
 * A plugin that does what its settings say, through the whole of the JavaScript SDK. Its twins in Rust and Python have to do the same:
 * `tests/src/conformance.rs` asks all of them the same questions.
 */

import {
  CannotDecide, Decision, Kind, Lookup, LookupFailed, Proposal, containers, history, log, metrics, policy,
} from "../sdk/index.js";
import { settings } from "./settings.js";
import * as told from "./told.js";

/** What a schema cannot say. */
function check({ script, decision }) {
  for (const step of script) {
    if (step.do === "past") millis(step.within_ms);
    if (step.how === "bug-in-check") fail("bug");
  }
  if (decision.answer === "wait") millis(decision.ms);
  decision.proposals.forEach(propose);
}

export default policy({
  name: "conformance",
  version: "1.0.0",
  description: "Does what its settings say, through the whole of its SDK",
  actions: Object.values(Kind),
  lookups: Object.values(Lookup),
  settings,
  check,
  decide(incident, { script, strict, values, decision }) {
    const heard = [];
    for (const step of script) {
      if (step.do === "fail") return fail(step.how);
      if (step.do === "tell") heard.push(told.part(step.what, incident, values));
      else if (step.do === "log") for (let n = 0; n < step.times; n++) log[step.level](step.message);
      else if (step.do === "print") console.log(step.text);
      else heard.push(look(step, strict));
    }
    return answer(decision, heard);
  },
});

function look(step, strict) {
  try {
    switch (step.do) {
      case "find": return containers.find(step.host, backwards(step.labels)).map(told.container);
      case "inspect": return told.container(containers.inspect(step.target));
      case "log-tail": return containers.logTail(step.target, step.lines);
      case "query": return metrics.query(step.promql).map(told.sample);
      default: return history.ofTarget(step.target, millis(step.within_ms)).map(told.past);
    }
  } catch (error) {
    if (strict || !(error instanceof LookupFailed)) throw error;
    return told.failed(error);
  }
}

/** To bring names into their order is the SDK's part. */
const backwards = (names) => Object.fromEntries(Object.entries(names).reverse());

function answer({ answer: word, reason: because, proposals, ms }, heard) {
  const reason = heard.length > 0 ? `${because} ${told.canonical(heard)}` : because;
  if (word === "act") return Decision.act(reason, ...proposals.map(propose));
  return word === "wait" ? Decision.wait(reason, millis(ms)) : Decision[word](reason);
}

const PROPOSE = {
  "docker.restart": ({ target, grace_seconds }) => Proposal.restart(target, { graceSeconds: grace_seconds }),
  "docker.start": ({ target }) => Proposal.start(target),
  "docker.stop": ({ target, grace_seconds }) => Proposal.stop(target, { graceSeconds: grace_seconds }),
  "docker.pause": ({ target }) => Proposal.pause(target),
  "docker.unpause": ({ target }) => Proposal.unpause(target),
  "docker.kill": ({ target, signal }) => Proposal.kill(target, signal),
  "ansible.playbook": ({ name, about, host, variables, tags, check }) =>
    Proposal.playbook(name, { about, host, variables: variables && backwards(variables), tags, check }),
  "alertmanager.silence": ({ about, matchers, ms, comment }) =>
    Proposal.silence(matchers.map(matcher), { about, duration: millis(ms), comment }),
  "alertmanager.expire": ({ about, id }) => Proposal.expireSilences(about, id),
  "notify.send": ({ about, channel, text }) => Proposal.notify(channel, text, { about }),
};

const propose = (wanted) => PROPOSE[wanted.kind](wanted);

function matcher({ name, op, value }) {
  if (!["=", "!=", "=~", "!~"].includes(op)) throw new Error(`\`${op}\` is no operator of a matcher`);
  return { name, op, value };
}

/** A length of time; `forever` is the longest that the language can say. */
function millis(text) {
  if (text === "forever") return Infinity;
  if (!/^[0-9]+$/.test(text)) throw new Error(`\`${text}\` is no number of milliseconds`);
  return Number(text);
}

function fail(how) {
  if (how === "cannot-decide") throw new CannotDecide("this cannot be decided");
  if (how === "bug") throw new TypeError("a bug");
  if (how === "recursion") return Decision.pass(String(deeper(1)));
  if (how === "no-text") return Decision.act("x", Proposal.restart(5));
  return how === "half-a-character" ? Decision.escalate("half \ud83d") : undefined;
}

function deeper(n) {
  return deeper(n + 1) + n;
}
