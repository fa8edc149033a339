// Signs beside words, never instead of them: drawn here, so that nothing has to be loaded.

import { svg } from "./dom";

const PATHS = {
  overview: "M4 13h6V4H4zM14 20h6v-9h-6zM14 4v3h6V4zM4 20h6v-3H4z",
  map: "M4 5h4v4H4zM10 5h4v4h-4zM16 5h4v4h-4zM4 11h4v4H4zM10 11h4v4h-4zM16 11h4v4h-4zM4 17h4v3H4zM10 17h4v3h-4z",
  charts: "M4 19h16M5 15l4-5 4 3 6-8",
  timeline: "M12 7v5l3 2M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18z",
  releases: "M6 4v10a4 4 0 0 0 4 4h8M6 8h8M14 5l3 3-3 3M15 15l3 3-3 3",
  config: "M7 3h7l4 4v14H7zM14 3v4h4M10 12h5M10 16h5",
  error: "M12 8v5M12 16.500v.1M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18z",
  warn: "M12 9v4M12 16.500v.1M12 4 3 20h18z",
  info: "M12 11v5M12 8v.1M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18z",
  good: "M8 12.500l3 3 5.500-6.500M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18z",
} as const;

export type IconName = keyof typeof PATHS;

export function icon(name: IconName): SVGElement {
  return svg("svg", { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true", focusable: "false" }, svg("path", { d: PATHS[name] }));
}

/** A state's letter: told apart without colours. */
export const SIGN: Record<string, string> = {
  healthy: "✓",
  unhealthy: "✕",
  ejected: "!",
  probation: "~",
  draining: "–",
  unknown: "?",
};

/** Worst first. */
export const STATES = ["unhealthy", "ejected", "probation", "draining", "unknown", "healthy"] as const;
