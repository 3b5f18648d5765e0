/**
 * The contract's open sets of words. They are plain strings: a later Paramedic may say one that is not here, and a policy keeps
 * working as long as it treats what it does not know as something else than what it does know.
 */

const words = (/** @type {Record<string, string>} */ of) => Object.freeze(of);

export const Kind = words({
  DOCKER_RESTART: "docker.restart",
  DOCKER_START: "docker.start",
  DOCKER_STOP: "docker.stop",
  DOCKER_PAUSE: "docker.pause",
  DOCKER_UNPAUSE: "docker.unpause",
  DOCKER_KILL: "docker.kill",
  ANSIBLE_PLAYBOOK: "ansible.playbook",
  SILENCE: "alertmanager.silence",
  EXPIRE_SILENCE: "alertmanager.expire",
  NOTIFY: "notify.send",
});

export const Lookup = words({ CONTAINERS: "containers", LOG_TAIL: "containers.log-tail", METRICS: "metrics", HISTORY: "history" });

/** True when an action with this outcome was really begun. An unknown word counts as begun, so that a ladder climbs rather than repeats. */
export const wasBegun = (/** @type {string} */ outcome) => outcome !== "refused" && outcome !== "cancelled";

/** True when it is certain that a container in this state exists and does not run. */
export const isDown = (/** @type {string} */ state) => state === "exited" || state === "created" || state === "dead";
