// Zones beside clusters: every endpoint a sign, and all that is known of it behind it.

import { attr, h, keyed, show, text } from "../dom";
import { confirmDrain } from "../drain";
import { ago, count } from "../format";
import { SIGN, STATES } from "../icons";
import { parameters, type View } from "../shell";
import { on, store } from "../store";
import type { Cluster, EndpointRow } from "../types";
import { details } from "./endpoint";

/** Signs drawn in one cell; of more, the well ones are counted. */
const SIGNS_MAX = 240;
const NOWHERE = "no zone";

const zoneOf = (row: EndpointRow): string => row[1] ?? NOWHERE;

export const map: View = {
  name: "map",
  title: "Map",
  mount(root) {
    const filter = h("input", { type: "search", id: "filter", placeholder: "cluster, zone, address or reason", autocomplete: "off", spellcheck: "false" });
    filter.value = parameters().get("cluster") ?? "";
    const bad = h("input", { type: "checkbox", id: "only-bad" });
    const head = h("tr");
    const body = h("tbody");
    const empty = h("p", { class: "quiet", hidden: true }, "Nothing here is of that name or state.");
    const legend = h("ul", { class: "legend", "aria-label": "Signs" },
      ...[...STATES].reverse().map((state) => h("li", null, h("span", { class: "cell", "data-state": state, "aria-hidden": "true" }, SIGN[state]!), state)));
    root.append(
      h("form", { class: "filters", role: "search", onsubmit: (event: SubmitEvent) => event.preventDefault() },
        h("label", { for: "filter" }, "Show"), filter,
        h("label", { class: "check" }, bad, "only what is not healthy")),
      legend,
      h("div", { class: "card map-card" }, h("table", { class: "map", "aria-label": "Endpoints by cluster and zone" }, h("thead", null, head), body), empty),
    );
    const draw = (): void => {
      const wanted = filter.value.trim().toLowerCase();
      const fits = (cluster: Cluster) => (row: EndpointRow) =>
        (!bad.checked || row[2] !== "healthy") && (wanted === "" || `${cluster.name} ${zoneOf(row)} ${row[0]} ${row[2]} ${row[4]}`.toLowerCase().includes(wanted));
      const all = store.state?.clusters ?? [];
      const chosen = all.map((cluster) => ({ cluster, rows: cluster.endpoints.filter(fits(cluster)) })).filter((one) => one.rows.length > 0);
      const zones = [...new Set(chosen.flatMap((one) => one.rows.map(zoneOf)))].sort();
      drawHead(head, zones, all);
      keyed(body, chosen, (one) => one.cluster.name, clusterRow, (row, one) => drawRow(row, one.cluster, one.rows, zones));
      show(empty, chosen.length === 0 && store.state !== null);
    };
    filter.addEventListener("input", draw);
    bad.addEventListener("input", draw);
    body.addEventListener("keydown", walk);
    body.addEventListener("click", (event) => {
      const cell = (event.target as Element).closest<HTMLElement>("button.cell");
      if (cell) details(cell.dataset["cluster"]!, cell.dataset["address"]!);
    });
    draw();
    return on(["state"], draw);
  },
};

/** Who is drained as a zone, by its name. */
const zoneDrained = (zone: string): boolean => (store.state?.drains ?? []).some((drain) => drain.zone === zone && !drain.cluster && !drain.endpoint);

function drawHead(head: HTMLElement, zones: string[], all: Cluster[]): void {
  const columns = ["Cluster", ...zones];
  keyed(head, columns, (name) => name, (name) => {
    if (name === "Cluster") return h("th", { scope: "col" }, name);
    const counts = h("span", { class: "quiet zone-counts" });
    const button = h("button", { type: "button", class: "small" });
    button.addEventListener("click", () => confirmDrain({ zone: name }, zoneDrained(name), Number(button.dataset["count"])));
    return h("th", { scope: "col", "data-zone": name }, h("span", { class: "zone-name" }, name), counts, name === NOWHERE ? null : button);
  }, (cell, name) => {
    if (name === "Cluster") return;
    const rows = all.flatMap((cluster) => cluster.endpoints.filter((row) => zoneOf(row) === name));
    text(cell.querySelector(".zone-counts")!, `${count(rows.filter((row) => row[2] === "healthy").length)} of ${count(rows.length)} healthy`);
    const button = cell.querySelector<HTMLElement>("button");
    if (!button) return;
    button.dataset["count"] = String(rows.length);
    text(button, zoneDrained(name) ? "Undrain…" : "Drain…");
    attr(button, "aria-label", `${zoneDrained(name) ? "Undrain" : "Drain"} zone ${name}`);
  });
}

function clusterRow({ cluster }: { cluster: Cluster }): HTMLElement {
  return h("tr", null, h("th", { scope: "row" }, h("span", { class: "cluster-name" }, cluster.name), h("span", { class: "quiet cluster-words" })));
}

function drawRow(row: HTMLElement, cluster: Cluster, rows: EndpointRow[], zones: string[]): void {
  const name = row.querySelector(".cluster-words")!;
  text(name, `${cluster.healthy} of ${cluster.endpoints.length} healthy${cluster.panic ? ", panic" : ""}${cluster.breaker === "open" ? ", breaker open" : ""}`);
  const byZone = new Map<string, EndpointRow[]>(zones.map((zone) => [zone, []]));
  rows.forEach((one) => byZone.get(zoneOf(one))?.push(one));
  // The first child is the row's head, which is no cell of a zone.
  let holder = cells.get(row);
  if (!holder) cells.set(row, (holder = new Map()));
  for (const [zone, cell] of holder) if (!byZone.has(zone)) (cell.remove(), holder.delete(zone));
  for (const [zone, its] of byZone) {
    let cell = holder.get(zone);
    if (!cell) holder.set(zone, (cell = h("td", { "data-zone": zone }, h("div", { class: "cells" }), h("span", { class: "more quiet" }))));
    if (cell.parentElement !== row || cell.nextSibling !== null) row.append(cell);
    drawCell(cell, cluster, its);
  }
}

const cells = new WeakMap<HTMLElement, Map<string, HTMLElement>>();

function drawCell(cell: HTMLElement, cluster: Cluster, rows: EndpointRow[]): void {
  const many = rows.length > SIGNS_MAX;
  const sick = many ? rows.filter((row) => row[2] !== "healthy") : rows;
  const drawn = sick.slice(0, SIGNS_MAX);
  keyed(cell.firstElementChild!, drawn, (row) => row[0], (row) => sign(cluster.name, row), drawSign);
  // One stop for the Tab key in a cell; arrows go on from there.
  const buttons = cell.firstElementChild!.children;
  if (!cell.querySelector('[tabindex="0"]') && buttons[0]) attr(buttons[0], "tabindex", "0");
  const rest = rows.length - drawn.length;
  text(cell.lastElementChild!, rest > 0 ? `and ${count(rest)} more${sick.length <= SIGNS_MAX ? ", healthy" : ""}` : "");
}

function sign(cluster: string, row: EndpointRow): HTMLElement {
  return h("button", { type: "button", class: "cell", tabindex: -1, "data-cluster": cluster, "data-address": row[0] });
}

function drawSign(cell: HTMLElement, row: EndpointRow): void {
  const [address, , state, since, reason] = row;
  const mark = `${state}${since}${reason}`;
  if (cell.dataset["mark"] === mark) return;
  cell.dataset["mark"] = mark;
  cell.dataset["state"] = state;
  text(cell, SIGN[state] ?? "?");
  attr(cell, "aria-label", `${address}: ${state}, ${reason}`);
  cell.title = `${address}\n${state} for ${ago(since)}\n${reason}`;
}

/** Arrow keys walk through the signs of a cell; Home and End to its ends. */
function walk(event: KeyboardEvent): void {
  const cell = (event.target as Element).closest("button.cell");
  if (!cell) return;
  const all = [...cell.parentElement!.children] as HTMLElement[];
  const here = all.indexOf(cell as HTMLElement);
  const to = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
  const next = to === undefined ? undefined : all[to];
  if (!next) return;
  event.preventDefault();
  attr(cell, "tabindex", "-1");
  attr(next, "tabindex", "0");
  next.focus();
}

