// What the API says, as far as the page reads it.

export type Level = "error" | "warn" | "info";

export interface Problem { level: Level; what: string; words: string; detail: string[]; since: string | null; cluster: string | null }

/** `[address, zone, status, since, reason, why not picked, weight %, priority]`. */
export type EndpointRow = [string, string | null, string, string, string, string | null, number, number];

export interface Cluster {
  name: string; balance: string; using: string; healthy: number; usable: number;
  panic: string | null; breaker: string | null; zones: string | null;
  sources: [string, string, string | null][];
  endpoints: EndpointRow[];
}

export interface Drain { words: string; by: string; since: string; until: string | null; endpoint?: string; cluster?: string; zone?: string; endpoints: number }

export interface State {
  instance: string; version: string; phase: string; started: string; zone: string | null; generation: number;
  config: { path: string; hash: string; generation: number; since: string; last_reload: { at: string; trigger: string; result: string; message: string } };
  problems: Problem[];
  drains: Drain[];
  drills: { words: string; by: string }[];
  listeners: { name: string; protocol: string; addresses: string[] }[];
  clusters: Cluster[];
}

/** `[requests/s, errors/s, p50 ms, p99 ms, under way]`. */
export type Line = [number, number, number | null, number | null, number];

export interface Sample { at: number; total: Line; open: number; accepted: number; clusters: Record<string, Line> }

export interface Event { id: number; time: string; kind: string; level: Level; message: string; fields: Record<string, unknown> }

export interface Arm { requests: number; errors: number; rate: number; error_percent: number | null }

export interface Version {
  cluster: string; role: string; weight: number; in_force: number; closed: boolean; ranges: [number, number][];
  requests: number; errors: number; error_rate: number | null; moved_by_health: number;
  requests_per_second?: number; recent_requests?: number; recent_errors?: number; p50_ms?: number | null; p99_ms?: number | null;
}

export interface Canary {
  cluster: string; closed: boolean; phase: string;
  verdict: { kind: string; why: string; canary: Arm; cohort: Arm; expected_seconds: number | null };
  rollout: { phase: string; why: string | null; step: number; steps: number; weights: number[]; weight: number; left_seconds: number | null } | null;
}

export interface Release { name: string; stable: string; unattributed: number; versions: Version[]; canaries: Canary[] }

export interface Move {
  from: string; to: string; percent: number; buckets: [number, number][]; expels: boolean;
  requests_per_second: number | null; to_endpoints: { healthy: number; of: number; usable: boolean } | null;
}

export interface Preview { text: string; moves: Move[]; patch: string; command: string; changed: boolean; expels: boolean }

export interface Reload { at: string; trigger: string; result: string; generation: number; message: string; text: string; warnings_text: string }

/** One endpoint in full, from `/api/v1/status`. */
export interface EndpointFull {
  address: string; zone: string | null; weight: number; weight_percent: number; priority: number; status: string; since: string; reason: string;
  not_picked: string | null; in_flight: number; requests: number; failures: number; latency_ms: number | null; connections: number;
  classes: Record<string, number>;
  ejection: { rule: string; left_seconds: number; times: number; good: number | null; needed: number } | null;
  checks: { asks: string; verdict: string; streak: number; threshold: number; last: { at: string; passed: boolean | null; words: string; took_ms: number } | null }[];
}
