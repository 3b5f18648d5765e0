// Needs no wasm: npm test
import assert from "node:assert/strict";
import { test } from "node:test";

import { Decision, Kind, Proposal } from "../sdk/index.js";
import { World, firing, tried } from "../sdk/testing.js";
import plugin from "../src/plugin.js";

test("what is down is restarted", () => {
  const expected = Decision.act("WebDown fires: restart local/web", Proposal.restart("local/web"));
  assert.deepEqual(new World().ask(plugin, firing("WebDown", { targets: ["local/web"] })), expected);
});

test("what a restart does not heal is for a person", () => {
  const incident = firing("WebDown", { targets: ["local/web"], attempts: [tried(Kind.DOCKER_RESTART, "local/web")] });
  assert.equal(new World().ask(plugin, incident).word, "escalate");
  assert.equal(new World().ask(plugin, incident, { restarts: 2 }).word, "act");
});
