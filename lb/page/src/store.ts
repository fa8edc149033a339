// What is known now, and who wants to hear of it.

import type { Event, Release, Sample, State } from "./types";

export type Topic = "state" | "sample" | "events" | "releases" | "line";

/** As many as the instance tells a newcomer. */
const EVENTS_MAX = 2000;
const SAMPLES_MAX = 300;

export const store = {
  state: null as State | null,
  samples: [] as Sample[],
  /** Newest first. */
  events: [] as Event[],
  releases: [] as Release[],
  /** Whether the stream is open, and why not. */
  connected: false,
  why: "connecting",
};

const listeners = new Map<Topic, Set<() => void>>();
let changed = new Set<Topic>();

/** Calls `hear` once a frame after any of these changed. Returns how to stop that. */
export function on(topics: Topic[], hear: () => void): () => void {
  for (const topic of topics) {
    const set = listeners.get(topic) ?? new Set();
    listeners.set(topic, set.add(hear));
  }
  return () => topics.forEach((topic) => listeners.get(topic)?.delete(hear));
}

function touch(topic: Topic): void {
  if (changed.size === 0) requestAnimationFrame(flush);
  changed.add(topic);
}

function flush(): void {
  const topics = changed;
  changed = new Set();
  const hearers = new Set([...topics].flatMap((topic) => [...(listeners.get(topic) ?? [])]));
  hearers.forEach((hear) => hear());
}

export function take(name: string, data: unknown): void {
  switch (name) {
    case "state": {
      const state = data as State;
      // Another process: its events begin anew.
      if (store.state && store.state.started !== state.started) store.events = [];
      store.state = state;
      return touch("state");
    }
    case "history":
      store.samples = data as Sample[];
      return touch("sample");
    case "sample":
      store.samples.push(data as Sample);
      if (store.samples.length > SAMPLES_MAX) store.samples.shift();
      return touch("sample");
    case "releases":
      store.releases = (data as { releases: Release[] }).releases;
      return touch("releases");
    case "event": {
      const event = data as Event;
      // What was told on the stream before is told again at its edges.
      if (store.events[0] && event.id <= store.events[0].id) return;
      store.events.unshift(event);
      if (store.events.length > EVENTS_MAX) store.events.pop();
      return touch("events");
    }
  }
}

export function line(connected: boolean, why: string): void {
  if (store.connected === connected && store.why === why) return;
  store.connected = connected;
  store.why = why;
  touch("line");
}

/** The share of errors and the rate of the last ten seconds. */
export function recent(samples: Sample[], cluster?: string): { rate: number; errors: number; share: number; p50: number | null; p99: number | null } {
  const last = samples.slice(-10);
  const lines = last.map((sample) => (cluster === undefined ? sample.total : sample.clusters[cluster]));
  const sum = (at: 0 | 1): number => lines.reduce((sum, line) => sum + (line?.[at] ?? 0), 0);
  const newest = lines.at(-1);
  const [requests, errors] = [sum(0), sum(1)];
  return {
    rate: last.length ? requests / last.length : 0,
    errors: last.length ? errors / last.length : 0,
    share: requests > 0 ? errors / requests : 0,
    p50: newest?.[2] ?? null,
    p99: newest?.[3] ?? null,
  };
}
