import assert from "node:assert/strict";
import { test } from "node:test";

import { AccessDenied, Kind } from "../sdk/index.js";
import { World, container, firing, tried } from "../sdk/testing.js";
import plugin from "../src/plugin.js";

const after = (name, label) => container(name, label ? { labels: { "paramedic.after": label } } : {});
const world = () => new World({
  containers: [after("local/db"), after("local/cache", "db"), after("local/web", "db, cache"), after("local/proxy", "web"), after("local/else")],
});
const done = (name, outcome) => tried(Kind.DOCKER_RESTART, name, outcome);
const next = (attempts, settings, more) => world().ask(plugin, firing("WebDown", { targets: ["local/web"], attempts, ...more }), settings);
const target = (decision) => decision.proposals?.[0].target;

test("dependencies first, then the container, then what hangs on it", () => {
  const order = ["local/db", "local/cache", "local/web", "local/proxy"];
  order.forEach((name, i) => assert.equal(target(next(order.slice(0, i).map((n) => done(n)))), name));
  assert.match(next(order.map((n) => done(n))).reason, /still fires after all of local\/db, local\/cache, local\/web, local\/proxy/);
  assert.equal(target(next(order.map((n) => done(n)), {}, { trigger: "retry" })), "local/db");
  assert.equal(next(order.slice(0, 3).map((n) => done(n)), { dependents: false }).word, "escalate");
});

test("a step that fails or is refused ends it", () => {
  assert.match(next([done("local/db", "failed")]).reason, /stops at local\/db, whose restart ended as failed/);
  assert.equal(next([done("local/db", "refused")]).word, "escalate");
  assert.equal(next([], {}, { trigger: "denied" }).word, "escalate");
});

test("a chain needs no lookup", () => {
  const blind = new World({ containers: new AccessDenied("no") });
  const chain = ["local/a", "local/b"];
  assert.equal(target(blind.ask(plugin, firing("X"), { chain })), "local/a");
  assert.deepEqual(blind.asked, []);
  assert.equal(blind.ask(plugin, firing("X", { targets: ["local/a"] })).word, "escalate");
  assert.throws(() => plugin.check({ chain: ["local/a", "local/a"] }), /twice/);
  assert.throws(() => plugin.check({ chain: [] }), /1 to 16/);
});

test("labels that make no order are for a person", () => {
  const ask = (...all) => new World({ containers: all }).ask(plugin, firing("X", { targets: ["local/a"] })).reason;
  assert.match(ask(after("local/a", "b"), after("local/b", "a")), /circle: local\/a after local\/b after local\/a/);
  assert.match(ask(after("local/a", "gone")), /local\/a comes after local\/gone, which does not exist/);
  assert.match(ask(), /not among the containers/);
  assert.match(new World().ask(plugin, firing("X")).reason, /names no container/);
});
