/** What makes a plugin of a function. */

import { NO_SETTINGS } from "./settings.js";

/** The plugin that an author exports as default; `decide` stays a plain function. */
export function policy({ name, version, description, actions = [], lookups = [], settings = NO_SETTINGS, check, decide }) {
  if (typeof decide !== "function") throw new TypeError("policy({ decide }) has to be a function of an incident and the settings");
  return Object.freeze({ name, version, description, actions, lookups, settings, check, decide });
}
