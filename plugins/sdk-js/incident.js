/** What a policy is told, and the questions a ladder asks about it. */

import { isDown, wasBegun } from "./words.js";

/** How many characters of an action's message are told, and how many actions: the last ones. */
const MESSAGE = 160;
const TOLD = 6;

/** One alert's story. Its fields are plain data; tests make one with `firing` of testing.js. */
export class Incident {
  constructor({ id, alert, trigger, attempts, targets, now }) {
    Object.assign(this, { id, alert, trigger, attempts, targets, now });
  }

  /** The alert's name: its label `alertname`, or `alert` if it has none. */
  get name() {
    return this.label("alertname") ?? "alert";
  }

  /** A label's value; undefined if the alert lacks it or it is empty, which Prometheus holds to be the same. */
  label(name) {
    return (Object.hasOwn(this.alert.labels, name) && this.alert.labels[name]) || undefined;
  }

  /** For how many milliseconds the alert has been firing, by the source's own account. */
  get firingFor() {
    return Math.max(0, this.now - this.alert.startsAt);
  }

  /** The targets to choose from, best first: the one that the settings name and no other, or else the alert's, those down first. */
  candidates(named) {
    if (named !== undefined) {
      return [this.targets.find((t) => t.name === named) ?? { name: named, state: "unknown", inventoryHost: undefined, extra: [] }];
    }
    return [...this.targets].sort((a, b) => Number(isDown(b.state)) - Number(isDown(a.state)));
  }

  /** In how many attempts an action of this kind was really begun. What was refused or cancelled does not count. */
  tried(kind) {
    return this.attempts.filter((attempt) => attempt.actions.some((a) => a.kind === kind && wasBegun(a.outcome))).length;
  }

  /** Every action that was really begun, oldest first. */
  begun() {
    return this.attempts.flatMap((attempt) => attempt.actions.filter((a) => wasBegun(a.outcome)));
  }

  /** Every action on this target that was really begun, oldest first. */
  begunOn(target) {
    return this.begun().filter((a) => a.target === target);
  }

  /** True when a ladder that was climbed to its end may begin at its foot again: a person asks for it, or it was held back until now. */
  get mayBeginAgain() {
    return this.trigger === "retry" || this.trigger === "hold-over";
  }

  /** What was begun and how it ended, in words for a reason. */
  whatWasTried() {
    const told = this.attempts.flatMap((attempt) =>
      attempt.actions.filter((a) => wasBegun(a.outcome)).map((action) => tell(action, attempt.verification)),
    );
    if (told.length === 0) return "nothing was tried";
    const more = told.length - TOLD;
    return [...(more > 0 ? [`${more} earlier actions`] : []), ...told.slice(-TOLD)].join(", then ");
  }
}

function tell({ kind, target, detail, outcome, message }, verification) {
  const what = detail ? `${kind} ${detail} about ${target}` : `${kind} of ${target}`;
  if (outcome === "succeeded") {
    if (verification === "unclear") return `${what} succeeded but it could not be told whether that helped`;
    return verification === "not-healed" ? `${what} succeeded but did not heal it` : `${what} succeeded`;
  }
  const said = { "timed-out": "timed out", interrupted: "was interrupted" }[outcome] ?? outcome;
  return message ? `${what} ${said} (${[...message].slice(0, MESSAGE).join("")})` : `${what} ${said}`;
}

/** The part of a target's name after the Docker host: `web` of `local/web`. */
export const containerOf = (/** @type {string} */ target) => target.slice(target.indexOf("/") + 1);
