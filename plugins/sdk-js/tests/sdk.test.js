import assert from "node:assert/strict";
import { test } from "node:test";

import { Invalid, Kind, NotFound, containers, metrics, quote } from "../index.js";
import { duration, readSettings } from "../settings.js";
import { World, container, firing, tried } from "../testing.js";

const WEB = "local/web";

test("what was begun is counted and told", () => {
  const attempts = [
    tried(Kind.DOCKER_RESTART, WEB, "refused"), tried(Kind.DOCKER_RESTART, WEB),
    tried(Kind.ANSIBLE_PLAYBOOK, WEB, "failed", { detail: "repair.yml", message: "exit code 2" }),
  ];
  const incident = firing("WebDown", { attempts });
  assert.deepEqual([incident.tried(Kind.DOCKER_RESTART), incident.begunOn(WEB).length], [1, 2]);
  assert.equal(
    incident.whatWasTried(),
    "docker.restart of local/web succeeded but did not heal it, then ansible.playbook repair.yml about local/web failed (exit code 2)",
  );
  assert.equal(firing("X", { labels: { container: "" } }).label("container"), undefined);
  assert.equal(firing("X").label("constructor"), undefined);
});

test("settings get their defaults and say what does not fit", () => {
  const schema = {
    type: "object", additionalProperties: false, required: ["name"],
    properties: { name: { type: "string" }, n: { type: "integer", minimum: 1, default: 2 }, list: { type: "array", items: { enum: ["a"] } } },
  };
  assert.deepEqual(readSettings(schema, { name: "x" }), { name: "x", n: 2 });
  const says = (value, text) => assert.throws(() => readSettings(schema, value), { name: "SettingsError", message: text });
  says({}, "settings needs the key `name`");
  says({ name: 1 }, "settings.name has to be of type string");
  says({ name: "x", n: 0 }, "settings.n has to be at least 1");
  says({ name: "x", list: ["a", "b"] }, "settings.list[1] has to be one of a");
  says({ name: "x", z: 1 }, "settings has no key `z`; there are: name, n, list");
  assert.equal(duration("1h30m"), 5_400_000);
});

test("text stays one string", () => {
  assert.equal(quote('a\\"b\nc\0\x85é'), '"a\\\\\\"b\\nc\\u0000\\u0085é"');
});

test("a world answers and fails", () => {
  const world = new World({ containers: [container(WEB, { labels: { a: "1" } })], metrics: { x: new Invalid("no") } });
  const ask = (decide) => world.ask({ decide, settings: {} }, firing("X"));
  assert.equal(ask(() => containers.find("local", { a: "1" })).length, 1);
  assert.deepEqual(ask(() => containers.find("local", { a: "2" })), []);
  assert.throws(() => ask(() => containers.inspect("local/no")), NotFound);
  assert.throws(() => ask(() => metrics.query("x")), { name: "Invalid", case: "invalid", message: "no" });
  assert.throws(() => ask(() => metrics.query("y")), /give it one/);
  assert.throws(() => metrics.query("x"), /nobody answers/);
});
