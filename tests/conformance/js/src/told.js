/**
 * What was told, as text that is the same in every language: JSON with sorted keys, no spaces, ASCII only, and numbers that are not
 * whole by their bits.
 */

/** JSON without anything that depends on the language. */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  if (value === undefined || value === null) return "null";
  if (typeof value !== "object") return ascii(JSON.stringify(value));
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${ascii(JSON.stringify(name))}:${canonical(value[name])}`)}}`;
}

const ascii = (json) => json.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** A number by its bits. */
export function bits(number) {
  if (Number.isNaN(number)) return "nan";
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, number);
  return view.getBigUint64(0).toString(16).padStart(16, "0");
}

/** A part of the incident, or of the settings. */
export function part(what, incident, values) {
  const { id, trigger, now } = incident;
  return {
    id: () => id,
    alert: () => alert(incident.alert),
    trigger: () => trigger,
    attempts: () => incident.attempts.map(attempt),
    targets: () => incident.targets.map(target),
    values: () => ({ ...values, number: bits(values.number) }),
    now: () => now,
    derived: () => derived(incident),
  }[what]();
}

/** What the SDK makes of the incident for its authors. */
const derived = (incident) => ({
  name: incident.name,
  label: incident.label("container"),
  firing_for_ms: incident.firingFor,
  begun: incident.begun().map(({ kind }) => kind),
  candidates: incident.candidates().map(({ name }) => name),
  may_begin_again: incident.mayBeginAgain,
  tried: incident.whatWasTried(),
});

const alert = ({ startsAt, firstSeen, generatorUrl, ...rest }) =>
  ({ ...rest, starts_at: startsAt, first_seen: firstSeen, generator_url: generatorUrl });

const target = ({ inventoryHost, ...rest }) => ({ ...rest, inventory_host: inventoryHost });

const attempt = ({ startedAt, endedAt, ...rest }) => ({ ...rest, started_at: startedAt, ended_at: endedAt });

/** A container that was found. */
export const container = ({ startedAt, finishedAt, exitCode, restartCount, ...rest }) =>
  ({ ...rest, started_at: startedAt, finished_at: finishedAt, exit_code: exitCode, restart_count: restartCount });

/** A value that was found. */
export const sample = ({ value, ...rest }) => ({ ...rest, value: bits(value) });

/** An incident that was found. */
export const past = ({ openedAt, closedAt, attempts, ...rest }) =>
  ({ ...rest, opened_at: openedAt, closed_at: closedAt, attempts: attempts.map(attempt) });

/** Why nothing was found. */
export const failed = (error) => ({ error: [error.case, error.message] });
