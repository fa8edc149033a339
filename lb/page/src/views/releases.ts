// Versions side by side, what is judged of canaries, and who would move if weights were others.
// The slider asks; it never orders.

import { get } from "../api";
import { attr, fill, h, keyed, text } from "../dom";
import { count, many, millis, percent, rate, span, words } from "../format";
import type { View } from "../shell";
import { on, store } from "../store";
import type { Canary, Move, Preview, Release, Version } from "../types";

const BUCKETS = 10_000;
/** After the last movement of a slider. */
const CALM = 150;

export const releases: View = {
  name: "releases",
  title: "Releases",
  mount(root) {
    const list = h("div");
    const empty = h("p", { class: "card quiet" }, "There is no release in this configuration.");
    root.append(list, empty);
    const draw = (): void => {
      empty.hidden = store.releases.length > 0;
      keyed(list, store.releases, (release) => `${release.name}/${release.canaries.map((canary) => canary.cluster).join()}`, card, drawCard);
    };
    draw();
    return on(["releases"], draw);
  },
};

const drawers = new WeakMap<HTMLElement, (release: Release) => void>();
const drawCard = (element: HTMLElement, release: Release): void => drawers.get(element)?.(release);

function card(release: Release): HTMLElement {
  const bar = h("div", { class: "buckets", role: "img" });
  const key = h("ul", { class: "legend" });
  const head = h("tr");
  const body = h("tbody");
  const verdicts = h("div", { class: "verdicts" });
  const element = h("section", { class: "card release", "aria-labelledby": `release-${release.name}` },
    h("h2", { id: `release-${release.name}` }, release.name),
    bar, key,
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Versions of ${release.name}` }, h("table", { class: "rows versions" }, h("thead", null, head), body)),
    verdicts,
    ...(release.canaries.length ? [whatIf(release)] : []));
  drawers.set(element, (release) => {
    drawBar(bar, key, release);
    drawVersions(head, body, release.versions);
    keyed(verdicts, release.canaries, (canary) => canary.cluster, () => h("div", { class: "verdict" }), drawVerdict);
  });
  return element;
}

function drawBar(bar: HTMLElement, key: HTMLElement, release: Release): void {
  const mark = JSON.stringify(release.versions.map((version) => [version.cluster, version.ranges, version.in_force]));
  if (bar.dataset["mark"] === mark) return;
  bar.dataset["mark"] = mark;
  const parts = release.versions.flatMap((version, at) => version.ranges.map(([from, to]) => ({ at, from, to })));
  fill(bar, ...parts.map(({ at, from, to }) => {
    const part = h("span", { class: `bucket v${at % 6}`, title: `${release.versions[at]!.cluster}: buckets ${from} to ${to}` });
    part.style.left = `${(from / BUCKETS) * 100}%`;
    part.style.width = `${((to - from + 1) / BUCKETS) * 100}%`;
    return part;
  }));
  attr(bar, "aria-label", release.versions.map((version) => `${version.cluster} has ${version.in_force} % of users`).join(", "));
  fill(key, ...release.versions.map((version, at) => h("li", null, h("span", { class: `swatch v${at % 6}`, "aria-hidden": "true" }), `${version.cluster} ${version.in_force} %`)));
}

const ROWS: [string, (version: Version) => string][] = [
  ["Users in force", (version) => `${version.in_force} %${version.in_force !== version.weight ? ` (file: ${version.weight} %)` : ""}`],
  ["Requests/s", (version) => (version.requests_per_second === undefined ? "–" : rate(version.requests_per_second))],
  ["Errors, last minute", (version) => (version.recent_requests ? `${percent((version.recent_errors ?? 0) / version.recent_requests)} (${count(version.recent_errors ?? 0)} of ${count(version.recent_requests)})` : "–")],
  ["p50", (version) => millis(version.p50_ms)],
  ["p99", (version) => millis(version.p99_ms)],
  ["Requests so far", (version) => count(version.requests)],
  ["Errors so far", (version) => count(version.errors)],
  ["Sent elsewhere for its health", (version) => count(version.moved_by_health)],
];

function drawVersions(head: HTMLElement, body: HTMLElement, versions: Version[]): void {
  keyed(head, [null, ...versions], (version) => version?.cluster ?? "", (version) =>
    h("th", { scope: "col" }, version ? version.cluster : h("span", { class: "sr" }, "What"), version && h("span", { class: "tag" }, version.role)));
  keyed(body, ROWS, ([name]) => name, ([name]) => h("tr", null, h("th", { scope: "row" }, name)), (row, [, value]) => {
    while (row.children.length < versions.length + 1) row.append(h("td", { class: "num" }));
    while (row.children.length > versions.length + 1) row.lastElementChild!.remove();
    versions.forEach((version, at) => text(row.children[at + 1]!, value(version)));
  });
}

const GOOD = new Set(["promote", "continue", "same", "no_worse", "better", "good"]);
const BAD = new Set(["rollback", "worse", "failed"]);

function drawVerdict(element: HTMLElement, canary: Canary): void {
  const { verdict, rollout } = canary;
  const told = [
    `${canary.cluster}: ${words(verdict.kind)}`,
    verdict.why,
    verdict.expected_seconds ? `Expected to be sure in about ${span(verdict.expected_seconds)}.` : "",
    rollout ? `Rollout ${words(rollout.phase)}${rollout.why ? `: ${rollout.why}` : ""}, step ${rollout.step} of ${rollout.steps} (${rollout.weights.join(", ")} %)${rollout.left_seconds ? `, at the earliest on in ${span(rollout.left_seconds)}` : ""}.` : "",
  ];
  const mark = told.join("\n");
  if (element.dataset["mark"] === mark) return;
  element.dataset["mark"] = mark;
  attr(element, "data-level", BAD.has(verdict.kind) || rollout?.phase === "failed" ? "error" : GOOD.has(verdict.kind) ? "good" : "info");
  const steps = rollout && h("ol", { class: "steps", "aria-hidden": "true" }, ...rollout.weights.map((weight, at) =>
    h("li", { "data-done": String(at + 1 < rollout.step || rollout.phase === "complete"), "data-now": String(at + 1 === rollout.step && rollout.phase !== "complete") }, `${weight} %`)));
  fill(element, h("h3", null, told[0]!), ...told.slice(1).filter(Boolean).map((line) => h("p", null, line)), steps);
}

/** Sliders for the canaries of a release, and what they would do. */
function whatIf(release: Release): HTMLElement {
  const answer = h("div", { class: "preview", "aria-live": "polite" }, h("p", { class: "quiet" }, "Move a slider to see who would move. Nothing is changed by it."));
  const inputs = release.canaries.map((canary) => {
    const version = release.versions.find((version) => version.cluster === canary.cluster);
    const id = `weight-${release.name}-${canary.cluster}`;
    const value = String(version?.weight ?? 0);
    const slider = h("input", { type: "range", id, min: 0, max: 100, step: 1, value });
    const number = h("input", { type: "number", min: 0, max: 100, step: "0.01", value, "aria-label": `Weight of ${canary.cluster} in per cent` });
    return { cluster: canary.cluster, slider, number, row: h("p", { class: "slider" }, h("label", { for: id }, canary.cluster), slider, number, h("span", null, "%")) };
  });
  let timer = 0;
  let stop = new AbortController();
  const ask = (): void => {
    clearTimeout(timer);
    timer = window.setTimeout(() => {
      stop.abort();
      stop = new AbortController();
      const { signal } = stop;
      const weights = inputs.map((input) => `${input.cluster}=${input.number.value || 0}`).join(",");
      get<Preview>(`/api/v1/releases/${encodeURIComponent(release.name)}:preview?weights=${encodeURIComponent(weights)}`, signal)
        .then((preview) => fill(answer, ...drawPreview(preview)))
        .catch((error: unknown) => signal.aborted || fill(answer, h("p", { class: "wrong" }, error instanceof Error ? error.message : String(error))));
    }, CALM);
  };
  for (const { slider, number } of inputs) {
    slider.addEventListener("input", () => ((number.value = slider.value), ask()));
    number.addEventListener("input", () => ((slider.value = number.value), ask()));
  }
  return h("section", { class: "what-if", "aria-label": `What if ${release.name} had other weights` }, h("h3", null, "What if"), ...inputs.map((input) => input.row), answer);
}

function drawPreview(preview: Preview): HTMLElement[] {
  if (!preview.changed) return [h("p", { class: "quiet" }, "These are the weights of the file: nobody moves.")];
  return [
    h("ul", { class: "moves" }, ...preview.moves.map(moveItem)),
    ...(preview.moves.length === 0 ? [h("p", null, "Nobody moves.")] : []),
    h("p", { class: "quiet" }, "Nothing was changed. To do it:"),
    h("pre", { tabindex: 0, "aria-label": "The command", class: "command" }, preview.command),
    h("p", { class: "quiet" }, "or write it into the file yourself:"),
    h("pre", { tabindex: 0, "aria-label": "The change of the file", class: "told" }, ...preview.patch.trimEnd().split("\n").map((line) =>
      h("span", { class: line.startsWith("+") && !line.startsWith("+++") ? "added" : line.startsWith("-") && !line.startsWith("---") ? "removed" : "" }, `${line}\n`))),
  ];
}

function moveItem(move: Move): HTMLElement {
  const buckets = move.buckets.map(([from, to]) => (from === to ? String(from) : `${from}–${to}`)).join(", ");
  const health = move.to_endpoints;
  return h("li", { "data-expels": String(move.expels) },
    h("b", null, `${move.percent} % of users`), ` from ${move.from} to ${move.to}`,
    move.requests_per_second === null ? "" : `, ${rate(move.requests_per_second)} requests/s now`,
    buckets && h("span", { class: "quiet" }, ` · buckets ${buckets}`),
    health && h("span", { class: health.usable ? "quiet" : "wrong" }, health.usable ? ` · ${health.healthy} of ${many(health.of, "endpoint")} healthy there` : " · no endpoint there can be used"),
    move.expels && h("span", { class: "wrong" }, " · takes them out of a canary"));
}
