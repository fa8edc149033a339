// The first look: what is wrong now, in words; then numbers; then what lately happened.

import { attr, fill, h, keyed, text } from "../dom";
import { ago, at, count, many, millis, percent, rate, words } from "../format";
import { icon, type IconName } from "../icons";
import type { View } from "../shell";
import { spark } from "../spark";
import { on, recent, store } from "../store";
import type { Cluster, Event, Problem } from "../types";

const SPARK = 90;
/** Errors of the last ten seconds that are a problem of their own. */
const ERRORS_WORTH = 0.005;

export const overview: View = {
  name: "overview",
  title: "Overview",
  mount(root) {
    const now = h("section", { class: "now card", "aria-labelledby": "now-title" });
    const tiles = [
      tile("Requests", (all) => rate(all.rate), "/s", (line) => line?.[0] ?? null),
      tile("Errors", (all) => percent(all.share), "", (line) => line?.[1] ?? null),
      tile("p50", (all) => millis(all.p50), "", (line) => line?.[2] ?? null),
      tile("p99", (all) => millis(all.p99), "", (line) => line?.[3] ?? null),
    ];
    const clusters = h("tbody");
    const listeners = h("tbody");
    const events = h("ol", { class: "events-short" });
    root.append(
      now,
      h("section", { class: "tiles", "aria-label": "Traffic of the last ten seconds" }, ...tiles.map((tile) => tile.element)),
      h("section", { class: "card" }, h("h2", null, "Clusters"), table(["Cluster", "Endpoints", "Requests/s", "Errors", "p50", "p99", "In use"], clusters)),
      h("div", { class: "two" },
        h("section", { class: "card" }, h("h2", null, "Lately"), events, h("p", null, h("a", { href: "#/timeline" }, "All events"))),
        h("section", { class: "card" }, h("h2", null, "Listeners"), table(["Listener", "Address", "Protocol"], listeners)),
      ),
    );
    const draw = (): void => {
      drawNow(now);
      const all = recent(store.samples);
      const samples = store.samples.slice(-SPARK);
      tiles.forEach((tile) => tile.draw(all, samples.map((sample) => sample.total)));
      keyed(clusters, store.state?.clusters ?? [], (cluster) => cluster.name, clusterRow, drawCluster);
      keyed(listeners, store.state?.listeners ?? [], (listener) => listener.name + listener.addresses.join(), (listener) =>
        h("tr", null, h("th", { scope: "row" }, listener.name), h("td", { class: "mono" }, listener.addresses.join(", ")), h("td", null, listener.protocol)));
      keyed(events, store.events.slice(0, 6), (event) => String(event.id), eventItem);
    };
    draw();
    return on(["state", "sample", "events", "line"], draw);
  },
};

type Recent = ReturnType<typeof recent>;
type Line = [number, number, number | null, number | null, number] | undefined;

function tile(title: string, value: (all: Recent) => string, unit: string, of: (line: Line) => number | null) {
  const number = h("b");
  const line = spark();
  const element = h("div", { class: "tile card" }, h("span", { class: "tile-title" }, title), h("span", { class: "tile-value" }, number, unit && h("small", null, unit)));
  element.append(line.element);
  return {
    element,
    draw(all: Recent, lines: Line[]) {
      text(number, value(all));
      line.draw(lines.map(of));
      if (title === "Errors") attr(element, "data-bad", String(all.share >= ERRORS_WORTH));
    },
  };
}

export function table(heads: string[], body: HTMLElement): HTMLElement {
  const head = h("thead", null, h("tr", null, ...heads.map((head) => h("th", { scope: "col" }, head))));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${heads[0]} table` }, h("table", { class: "rows" }, head, body));
}

function drawNow(now: HTMLElement): void {
  const { state, connected, why } = store;
  const problems = [...lost(), ...errors(), ...(state?.problems ?? [])];
  const worst = problems[0]?.level ?? "good";
  attr(now, "data-level", !state && connected ? "info" : worst);
  const title = problems.length === 0 ? (state ? "All is well" : why || "Connecting") : headline(problems);
  const sure = now.querySelector("h2");
  if (!sure) now.append(h("h2", { id: "now-title" }), h("p", { class: "now-sum" }), h("ul", { class: "problems" }));
  const [heading, sum, list] = [now.children[0]!, now.children[1]!, now.children[2]!];
  const key = `${worst}${title}`;
  if (heading.getAttribute("data-key") !== key) {
    heading.setAttribute("data-key", key);
    fill(heading, icon(worst as IconName), title);
  }
  text(sum, state ? summary(state.clusters) : "");
  keyed(list, problems, (problem) => `${problem.what}${problem.words}${problem.detail.join()}`, problemItem, (item, problem) => {
    const since = item.querySelector(".since")!;
    text(since, problem.since ? `for ${ago(problem.since)}` : "");
  });
}

/** What is not known is not well. */
function lost(): Problem[] {
  if (store.connected || !store.state) return [];
  return [{ level: "error", what: "line", words: `${store.why}: what is shown here is old`, detail: [], since: null, cluster: null }];
}

function errors(): Problem[] {
  const all = recent(store.samples);
  if (all.share < ERRORS_WORTH) return [];
  const words = `${percent(all.share)} of requests fail (${rate(all.errors)}/s in the last ten seconds)`;
  return [{ level: all.share > 0.05 ? "error" : "warn", what: "errors", words, detail: [], since: null, cluster: null }];
}

function headline(problems: Problem[]): string {
  const bad = problems.filter((problem) => problem.level !== "info").length;
  return bad === 0 ? `All is well; ${many(problems.length, "thing")} to know` : `${many(bad, "thing")} need${bad === 1 ? "s" : ""} a look`;
}

function summary(clusters: Cluster[]): string {
  const all = clusters.reduce((sum, cluster) => sum + cluster.endpoints.length, 0);
  const healthy = clusters.reduce((sum, cluster) => sum + cluster.healthy, 0);
  return `${count(healthy)} of ${many(all, "endpoint")} healthy in ${many(clusters.length, "cluster")}`;
}

const WHERE: Record<string, string> = { reload: "config", release: "releases", errors: "charts", drill: "timeline", certificate: "timeline", line: "overview", phase: "timeline", listener: "config" };

function problemItem(problem: Problem): HTMLElement {
  const href = problem.cluster ? `#/map?cluster=${encodeURIComponent(problem.cluster)}` : `#/${WHERE[problem.what] ?? "map"}`;
  const level = { error: "Error", warn: "Warning", info: "Note" }[problem.level];
  return h("li", { "data-level": problem.level },
    icon(problem.level),
    h("div", null,
      h("a", { href }, h("span", { class: "sr" }, `${level}: `), problem.words),
      h("span", { class: "since quiet" }),
      problem.detail.length > 0 && h("ul", { class: "detail" }, ...problem.detail.map((line) => h("li", null, line)))));
}

function clusterRow(cluster: Cluster): HTMLElement {
  const bar = h("span", { class: "health-bar", "aria-hidden": "true" }, h("i"));
  const cells = ["rate", "errors", "p50", "p99"].map((name) => h("td", { class: `num ${name}` }));
  return h("tr", null,
    h("th", { scope: "row" }, h("a", { href: `#/map?cluster=${encodeURIComponent(cluster.name)}` }, cluster.name)),
    h("td", { class: "health" }, bar, h("span", { class: "health-words" })), ...cells, h("td", { class: "using" }));
}

function drawCluster(row: HTMLElement, cluster: Cluster): void {
  const all = recent(store.samples, cluster.name);
  const part = cluster.endpoints.length ? cluster.healthy / cluster.endpoints.length : 0;
  const fillBar = row.querySelector<HTMLElement>(".health-bar i")!;
  const width = `${(part * 100).toFixed(0)}%`;
  if (fillBar.style.width !== width) fillBar.style.width = width;
  attr(row, "data-whole", String(part === 1));
  text(row.querySelector(".health-words")!, `${cluster.healthy} of ${cluster.endpoints.length}`);
  text(row.querySelector(".rate")!, rate(all.rate));
  text(row.querySelector(".errors")!, percent(all.share));
  text(row.querySelector(".p50")!, millis(all.p50));
  text(row.querySelector(".p99")!, millis(all.p99));
  text(row.querySelector(".using")!, cluster.breaker === "open" ? "breaker open" : cluster.panic ? "panic" : words(cluster.using));
}

function eventItem(event: Event): HTMLElement {
  return h("li", { "data-level": event.level }, h("time", { datetime: event.time }, at(event.time)), h("span", null, event.message));
}

