/** An open set of words: those that are known, and any other. */
type Word<Known extends string> = Known | (string & {});
type Pairs = [string, string][];

export type KindWord = Word<
  | "docker.restart" | "docker.start" | "docker.stop" | "docker.pause" | "docker.unpause" | "docker.kill"
  | "ansible.playbook" | "alertmanager.silence" | "alertmanager.expire" | "notify.send"
>;
export type LookupWord = Word<"containers" | "containers.log-tail" | "metrics" | "history">;
export type Trigger = Word<"alert" | "not-healed" | "wait-over" | "hold-over" | "interrupted" | "denied" | "retry">;
export type Outcome = Word<"succeeded" | "failed" | "timed-out" | "interrupted" | "refused" | "cancelled">;
export type Verification = Word<"healed" | "not-healed" | "unclear" | "none">;
export type State = Word<"running" | "exited" | "paused" | "restarting" | "created" | "dead" | "missing" | "unknown">;
export type Health = Word<"healthy" | "unhealthy" | "starting" | "none">;

export const Kind: Readonly<Record<
  | "DOCKER_RESTART" | "DOCKER_START" | "DOCKER_STOP" | "DOCKER_PAUSE" | "DOCKER_UNPAUSE" | "DOCKER_KILL" | "ANSIBLE_PLAYBOOK"
  | "SILENCE" | "EXPIRE_SILENCE" | "NOTIFY",
  KindWord
>>;
export const Lookup: Readonly<Record<"CONTAINERS" | "LOG_TAIL" | "METRICS" | "HISTORY", LookupWord>>;
export function wasBegun(outcome: Outcome): boolean;
export function isDown(state: State): boolean;

/** What the source said. Everything in it is written by strangers: data, never commands. All times are milliseconds since 1970. */
export interface Alert {
  source: Word<"prometheus" | "docker" | "grafana" | "generic">;
  status: Word<"firing" | "resolved">;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  startsAt: number;
  firstSeen: number;
  generatorUrl: string;
  extra: Pairs;
}
export interface Target {
  name: string;
  state: State;
  inventoryHost: string | undefined;
  extra: Pairs;
}
export interface AttemptedAction {
  kind: KindWord;
  target: string;
  detail: string;
  outcome: Outcome;
  message: string;
  extra: Pairs;
}
export interface Attempt {
  number: number;
  startedAt: number;
  endedAt: number;
  actions: AttemptedAction[];
  verification: Verification;
  extra: Pairs;
}
export class Incident {
  private constructor();
  readonly id: string;
  readonly alert: Alert;
  readonly trigger: Trigger;
  readonly attempts: Attempt[];
  readonly targets: Target[];
  readonly now: number;
  get name(): string;
  get firingFor(): number;
  get mayBeginAgain(): boolean;
  label(name: string): string | undefined;
  candidates(named?: string): Target[];
  tried(kind: KindWord): number;
  begun(): AttemptedAction[];
  begunOn(target: string): AttemptedAction[];
  whatWasTried(): string;
}
export function containerOf(target: string): string;

export type Proposal = { readonly kind: KindWord; readonly target: string } & Readonly<Record<string, unknown>>;
export interface Matcher {
  name: string;
  op: "=" | "!=" | "=~" | "!~";
  value: string;
}
export const Proposal: {
  restart(target: string, options?: { graceSeconds?: number }): Proposal;
  start(target: string): Proposal;
  stop(target: string, options?: { graceSeconds?: number }): Proposal;
  pause(target: string): Proposal;
  unpause(target: string): Proposal;
  kill(target: string, signal?: string): Proposal;
  playbook(
    name: string,
    options: { about: string; host?: string; variables?: Record<string, unknown>; tags?: string[]; check?: boolean },
  ): Proposal;
  /** `duration` is in milliseconds. */
  silence(matchers: Matcher[], options: { about: string; duration: number; comment?: string }): Proposal;
  expireSilences(about: string, id?: string): Proposal;
  notify(channel: string, text: string, options: { about: string }): Proposal;
};

export interface Decision {
  readonly word: "pass" | "ignore" | "act" | "wait" | "escalate";
  readonly reason: string;
  readonly proposals?: Proposal[];
  readonly duration?: number;
}
export const Decision: {
  pass(reason: string): Decision;
  ignore(reason: string): Decision;
  act(reason: string, ...proposals: Proposal[]): Decision;
  /** `duration` is in milliseconds. */
  wait(reason: string, duration: number): Decision;
  escalate(reason: string): Decision;
};
export class CannotDecide extends Error {}

export class LookupFailed extends Error {
  readonly case: string;
}
export class AccessDenied extends LookupFailed {}
export class NotFound extends LookupFailed {}
export class Invalid extends LookupFailed {}
export class LimitExceeded extends LookupFailed {}
export class Unavailable extends LookupFailed {}

export interface Container {
  name: string;
  id: string;
  image: string;
  state: State;
  health: Health;
  startedAt: number | undefined;
  finishedAt: number | undefined;
  exitCode: number | undefined;
  restartCount: number;
  labels: Record<string, string>;
  extra: Pairs;
}
export interface Sample {
  labels: Record<string, string>;
  value: number;
  at: number;
}
export interface PastIncident {
  id: string;
  alertname: string;
  openedAt: number;
  closedAt: number | undefined;
  state: string;
  policy: string;
  attempts: Attempt[];
  extra: Pairs;
}
export const containers: {
  find(host: string, labels?: Record<string, string>): Container[];
  inspect(target: string): Container;
  logTail(target: string, lines?: number): string[];
};
export const metrics: { query(promql: string): Sample[]; quote(text: string): string };
/** `within` is in milliseconds. */
export const history: { ofTarget(target: string, within: number): PastIncident[] };
export const log: Record<"debug" | "info" | "warn" | "error", (message: unknown) => void>;
export function quote(text: string): string;

export class SettingsError extends Error {}
export const DURATION: string;
/** `1h30m` in milliseconds. */
export function duration(text: string): number;

export interface Plugin<S> {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly actions?: readonly KindWord[];
  readonly lookups?: readonly LookupWord[];
  /** JSON Schema of the settings; its defaults are filled in before `decide` is asked. */
  readonly settings?: object;
  /** Throws about what a schema cannot say; asked when a policy is loaded. */
  check?(settings: S): void;
  decide(incident: Incident, settings: S): Decision;
}
export function policy<S>(plugin: Plugin<S>): Plugin<S>;
