// The last five minutes as lines.

import uPlot from "uplot";
import { fill, h, text } from "../dom";
import { count, millis, rate } from "../format";
import type { View } from "../shell";
import { on, store } from "../store";
import type { Line, Sample } from "../types";

const HEIGHT = 200;
/** Lines in one chart; more are a tangle. */
const LINES_MAX = 8;

/** Seconds that are shown, so that a line comes in from the right from the start. */
const SPAN = 300;

interface Chart {
  title: string;
  unit: string;
  of: (line: Line) => number | null;
  /** Of the whole instance only. */
  whole?: (sample: Sample) => number;
  show: (value: number) => string;
}

const CHARTS: Chart[] = [
  { title: "Requests", unit: "/s", of: (line) => line[0], show: rate },
  { title: "Errors", unit: "%", of: (line) => (line[0] > 0 ? (line[1] / line[0]) * 100 : 0), show: (value) => `${value.toFixed(value < 10 ? 2 : 0)} %` },
  { title: "Latency, p50", unit: "ms", of: (line) => line[2], show: millis },
  { title: "Latency, p99", unit: "ms", of: (line) => line[3], show: millis },
  { title: "Requests under way", unit: "", of: (line) => line[4], show: count },
  { title: "Client connections", unit: "", of: () => null, whole: (sample) => sample.open, show: count },
];

export const charts: View = {
  name: "charts",
  title: "Charts",
  mount(root) {
    const choose = h("select", { id: "lines" }, h("option", { value: "" }, "everything together"), h("option", { value: "*" }, "cluster by cluster"));
    const pause = h("button", { type: "button", class: "small", "aria-pressed": "false" }, "Pause");
    const grid = h("div", { class: "charts" });
    root.append(h("div", { class: "filters" }, h("label", { for: "lines" }, "Show"), choose, pause), grid);
    let plots: Drawn[] = [];
    let names: string[] = [];
    let paused = false;
    const width = (): number => Math.max(200, (grid.firstElementChild?.clientWidth ?? 400) - 32);
    const build = (): void => {
      plots.forEach((plot) => plot.plot.destroy());
      fill(grid);
      plots = CHARTS.map((chart) => one(chart, chart.whole ? ["all"] : names, grid));
      plots.forEach((plot) => plot.plot.setSize({ width: width(), height: HEIGHT }));
    };
    const wanted = (): string[] => {
      const clusters = (store.state?.clusters ?? []).map((cluster) => cluster.name);
      for (const name of clusters) if (![...choose.options].some((option) => option.value === name)) choose.append(h("option", { value: name }, name));
      return choose.value === "" ? ["all"] : choose.value === "*" ? clusters.slice(0, LINES_MAX) : [choose.value];
    };
    const draw = (): void => {
      const now = wanted();
      if (plots.length === 0 || now.join() !== names.join()) {
        names = now;
        build();
      } else if (paused) return;
      plots.forEach((plot) => plot.draw(store.samples));
    };
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const anew = (): void => (build(), draw());
    const size = new ResizeObserver(() => plots.forEach((plot) => plot.plot.width !== width() && plot.plot.setSize({ width: width(), height: HEIGHT })));
    choose.addEventListener("input", draw);
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      text(pause, paused ? "Go on" : "Pause");
      draw();
    });
    scheme.addEventListener("change", anew);
    draw();
    size.observe(grid);
    const off = on(["sample", "state"], draw);
    return () => (off(), size.disconnect(), scheme.removeEventListener("change", anew), plots.forEach((plot) => plot.plot.destroy()));
  },
};

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

interface Drawn { plot: uPlot; draw(samples: Sample[]): void }

function one(chart: Chart, names: string[], parent: HTMLElement): Drawn {
  const place = h("div", { role: "img" });
  const caption = h("figcaption", null, h("b", null, chart.title), h("span", { class: "chart-now" }));
  parent.append(h("figure", { class: "card" }, caption, place));
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const axis: uPlot.Axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 }, font: "11px system-ui, sans-serif" };
  const plot = new uPlot(
    {
      width: 400,
      height: HEIGHT,
      cursor: { y: false, sync: { key: "weir" } },
      legend: { show: names.length > 1, live: false },
      scales: { x: { time: true, range: (_plot, _least, most) => [most - SPAN, most] }, y: { range: (_plot, _least, most) => [0, Math.max(most * 1.1, 1)] } },
      axes: [{ ...axis, space: 70, values: (_plot, moments) => moments.map((moment) => clock.format(moment * 1000)) }, { ...axis, size: 52, values: (_plot, values) => values.map((value) => short(value)) }],
      series: [{}, ...names.map((name, at) => ({ label: name, stroke: colour(`--v${at % 6}`), width: 2, spanGaps: false, points: { show: false }, ...(names.length === 1 ? { fill: colour("--area") } : {}) }))],
    },
    [[], ...names.map(() => [])] as uPlot.AlignedData,
    place,
  );
  return {
    plot,
    draw(samples) {
      const of = (sample: Sample, name: string): number | null => {
        if (chart.whole) return chart.whole(sample);
        const line = name === "all" ? sample.total : sample.clusters[name];
        // A cluster that is idle is left out of a sample: no requests, and no latency.
        return line ? chart.of(line) : chart.title.startsWith("Latency") ? null : 0;
      };
      plot.setData([samples.map((sample) => sample.at / 1000), ...names.map((name) => samples.map((sample) => of(sample, name)))] as uPlot.AlignedData);
      const newest = samples.at(-1);
      const told = names.map((name) => {
        const value = newest ? of(newest, name) : null;
        return `${names.length > 1 ? `${name} ` : ""}${value === null ? "–" : chart.show(value)}`;
      });
      text(caption.lastElementChild!, names.length > 3 ? "" : `${told.join(", ")}${chart.unit === "/s" ? "/s" : ""}`);
      place.setAttribute("aria-label", `${chart.title} of the last five minutes; now ${told.join(", ")}`);
    },
  };
}

const short = (value: number): string => (value >= 1e6 ? `${value / 1e6}M` : value >= 1e4 ? `${value / 1e3}k` : String(Math.round(value * 100) / 100));
