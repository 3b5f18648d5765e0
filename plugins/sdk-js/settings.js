/**
 * Settings: checked against the plugin's JSON Schema, with its defaults filled in.
 *
 * Paramedic has checked them already when the policy was loaded; here it is done for tests, and for the defaults. Understood are `type`,
 * `enum`, `minimum`, `maximum`, `minLength`, `pattern`, `items`, `properties`, `required`, `additionalProperties: false` and `default`.
 */

/** Settings that do not fit; the message says where. */
export class SettingsError extends Error {
  name = "SettingsError";
}

export const NO_SETTINGS = Object.freeze({ type: "object", additionalProperties: false, properties: {} });

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** The pattern of a length of time, for a schema. */
export const DURATION = "^([0-9]+(ms|s|m|h|d))+$";

/** `1h30m` in milliseconds. */
export function duration(text) {
  if (!new RegExp(DURATION).test(text)) throw new SettingsError(`\`${text}\` is no length of time such as 90s, 5m or 1h30m`);
  return [...text.matchAll(/([0-9]+)(ms|s|m|h|d)/g)].reduce((sum, [, n, unit]) => sum + Number(n) * UNITS[unit], 0);
}

const nameOf = (value) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);
const isA = (type, value) => (type === "integer" ? Number.isInteger(value) : nameOf(value) === type);

/** The value with its defaults; throws `SettingsError` when it does not fit. */
export function readSettings(schema, value, at = "settings") {
  const types = [schema.type ?? []].flat();
  if (types.length > 0 && !types.some((type) => isA(type, value))) fail(at, `has to be of type ${types.join(" or ")}`);
  if (schema.enum && !schema.enum.includes(value)) fail(at, `has to be one of ${schema.enum.join(", ")}`);
  if (value < schema.minimum) fail(at, `has to be at least ${schema.minimum}`);
  if (value > schema.maximum) fail(at, `has to be at most ${schema.maximum}`);
  if (typeof value === "string") readText(schema, value, at);
  if (Array.isArray(value)) return schema.items ? value.map((item, i) => readSettings(schema.items, item, `${at}[${i}]`)) : value;
  return nameOf(value) === "object" ? readObject(schema, value, at) : value;
}

function readText(schema, value, at) {
  if (value.length < schema.minLength) fail(at, `has to have at least ${schema.minLength} characters`);
  if (schema.pattern && !new RegExp(schema.pattern, "u").test(value)) fail(at, `has to be like ${schema.pattern}`);
}

function readObject(schema, value, at) {
  const properties = schema.properties ?? {};
  // A map, since an operator's key may be called `__proto__`, which assigning would lose, or `constructor`, which every object has.
  const read = new Map();
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(properties, key)) read.set(key, readSettings(properties[key], value[key], `${at}.${key}`));
    else if (schema.additionalProperties === false) {
      fail(at, `has no key \`${key}\`; there are: ${Object.keys(properties).join(", ") || "none at all"}`);
    } else read.set(key, value[key]);
  }
  for (const [key, property] of Object.entries(properties)) {
    if (!read.has(key) && "default" in property) read.set(key, readSettings(property, structured(property.default), `${at}.${key}`));
  }
  for (const key of schema.required ?? []) if (!read.has(key)) fail(at, `needs the key \`${key}\``);
  return Object.fromEntries(read);
}

const structured = (value) => JSON.parse(JSON.stringify(value));

function fail(at, text) {
  throw new SettingsError(`${at} ${text}`);
}
