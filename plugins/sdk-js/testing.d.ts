import type { Attempt, Container, Decision, Incident, KindWord, LookupFailed, Outcome, PastIncident, Plugin, Sample, Target, Trigger } from "./index.js";

type Tried = Pick<Attempt, "actions" | "verification">;

export const TEST_TIME: number;
export function firing(
  alertname: string,
  more?: {
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    targets?: (string | (Partial<Target> & { name: string }))[];
    attempts?: Tried[];
    trigger?: Trigger;
    after?: number;
  },
): Incident;
export function tried(kind: KindWord, target: string, outcome?: Outcome, more?: { detail?: string; message?: string }): Tried;
export function container(name: string, more?: Partial<Container>): Container;
export class World {
  constructor(of?: {
    containers?: Container[] | LookupFailed;
    metrics?: Record<string, (Partial<Sample> & { value: number })[] | LookupFailed>;
    logs?: Record<string, string[] | LookupFailed>;
    history?: Record<string, PastIncident[] | LookupFailed>;
  });
  readonly asked: string[];
  readonly said: [string, string][];
  ask<S>(plugin: Plugin<S>, incident: Incident, settings?: unknown): Decision;
}
