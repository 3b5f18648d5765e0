/** What a policy answers and what it can want: plain data, which tests compare with `deepEqual`. */

const of = (word) => (reason) => ({ word, reason });

/** What a policy answers. The reason is one sentence for the engineer on call. */
export const Decision = Object.freeze({
  /** Not mine: ask the next policy. */
  pass: of("pass"),
  /** Mine, and there is nothing to do. */
  ignore: of("ignore"),
  /** Mine: do these things, in this order; the first that fails ends the attempt. All about one target, at most 16. */
  act: (reason, ...proposals) => ({ word: "act", reason, proposals }),
  /** Mine: ask again after so many milliseconds, or when the alert clears. */
  wait: (reason, duration) => ({ word: "wait", reason, duration }),
  /** Mine: a person has to look. */
  escalate: of("escalate"),
});

/** What could be done to one target. Making one does nothing. */
export const Proposal = Object.freeze({
  restart: (target, { graceSeconds } = {}) => ({ kind: "docker.restart", target, graceSeconds }),
  start: (target) => ({ kind: "docker.start", target }),
  stop: (target, { graceSeconds } = {}) => ({ kind: "docker.stop", target, graceSeconds }),
  pause: (target) => ({ kind: "docker.pause", target }),
  unpause: (target) => ({ kind: "docker.unpause", target }),
  kill: (target, signal) => ({ kind: "docker.kill", target, signal }),
  playbook: (name, { about, host, variables = {}, tags = [], check = false }) =>
    ({ kind: "ansible.playbook", target: about, name, host, variables, tags, check }),
  silence: (matchers, { about, duration, comment = "" }) => ({ kind: "alertmanager.silence", target: about, matchers, duration, comment }),
  expireSilences: (about, id) => ({ kind: "alertmanager.expire", target: about, id }),
  notify: (channel, text, { about }) => ({ kind: "notify.send", target: about, channel, text }),
});

/** Throw it, with a sentence for the engineer on call, when a policy cannot decide. The next policy is asked. */
export class CannotDecide extends Error {
  name = "CannotDecide";
}
