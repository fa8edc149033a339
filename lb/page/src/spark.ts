// A line without axes: where a number has been.

import { attr, svg } from "./dom";

const WIDTH = 120;
const HEIGHT = 32;

export interface Spark { element: SVGElement; draw(values: (number | null)[]): void }

export function spark(): Spark {
  const area = svg("path", { class: "spark-area" });
  const line = svg("path", { class: "spark-line" });
  const element = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "spark", preserveAspectRatio: "none", "aria-hidden": "true" }, area, line);
  return {
    element,
    draw(values) {
      const most = Math.max(...values.map((value) => value ?? 0), 1e-9);
      const step = WIDTH / Math.max(values.length - 1, 1);
      const points = values.map((value, at) => `${(at * step).toFixed(1)} ${(HEIGHT - 2 - ((value ?? 0) / most) * (HEIGHT - 6)).toFixed(1)}`);
      const path = points.length > 1 ? `M${points.join("L")}` : "";
      attr(line, "d", path);
      attr(area, "d", path && `${path}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`);
    },
  };
}
