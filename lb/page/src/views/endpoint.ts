// All that is known of one endpoint, while one looks at it.

import { get } from "../api";
import { open } from "../dialog";
import { fill, h } from "../dom";
import { confirmDrain } from "../drain";
import { ago, at, count, millis, percent, span, words } from "../format";
import { SIGN } from "../icons";
import { on, store } from "../store";
import type { EndpointFull } from "../types";

/** Between two looks. */
const EVERY = 2000;

export function details(cluster: string, address: string): void {
  const body = h("div", { class: "endpoint" }, h("p", { class: "quiet" }, "Asking…"));
  const stop = new AbortController();
  const look = async (): Promise<void> => {
    try {
      const status = await get<{ clusters: { endpoints: EndpointFull[] }[] }>(`/api/v1/status?cluster=${encodeURIComponent(cluster)}`, stop.signal);
      const found = status.clusters[0]?.endpoints.find((endpoint) => endpoint.address === address);
      const focus = body.contains(document.activeElement) ? document.activeElement?.id : undefined;
      fill(body, ...(found ? describe(cluster, found) : [h("p", null, "It is no endpoint of this cluster any more.")]));
      if (focus) document.getElementById(focus)?.focus();
    } catch (error) {
      if (!stop.signal.aborted) fill(body, h("p", { class: "wrong" }, String(error instanceof Error ? error.message : error)));
    }
  };
  const timer = setInterval(() => void look(), EVERY);
  const off = on(["state"], () => void look());
  open(address, () => [h("p", { class: "quiet" }, `an endpoint of ${cluster}`), body], () => {
    clearInterval(timer);
    off();
    stop.abort();
  });
  void look();
}

function describe(cluster: string, endpoint: EndpointFull): HTMLElement[] {
  const { address, status, reason, since, zone, ejection, checks } = endpoint;
  const key = `${cluster}/${address}`;
  const drained = (store.state?.drains ?? []).some((drain) => drain.endpoint === key);
  const drain = h("button", { type: "button", id: "drain-it", class: drained ? "" : "danger" }, drained ? "Undrain…" : "Drain…");
  drain.addEventListener("click", () => confirmDrain({ endpoint: key }, drained, 1));
  const facts: [string, string][] = [
    ["Since", `${at(since)} (${ago(since)})`],
    ["Zone", zone ?? "none"],
    ["Priority", String(endpoint.priority)],
    ["Weight", `${endpoint.weight}, of which ${endpoint.weight_percent} % now`],
    ["Attempts", `${count(endpoint.requests)}, ${count(endpoint.failures)} failed${endpoint.requests ? ` (${percent(endpoint.failures / endpoint.requests)})` : ""}`],
    ["Under way", count(endpoint.in_flight)],
    ["Connections", count(endpoint.connections)],
  ];
  if (endpoint.latency_ms !== null) facts.push(["Latency", `${millis(endpoint.latency_ms)} to the head of an answer, of late`]);
  if (endpoint.not_picked) facts.push(["Not picked", endpoint.not_picked]);
  if (ejection) facts.push(["Ejected", `${words(ejection.rule)}, time ${ejection.times}; ${ejection.good === null ? `tried again in ${span(ejection.left_seconds)}` : `on probation, ${ejection.good} of ${ejection.needed} good`}`]);
  return [
    h("p", { class: "endpoint-state" }, h("span", { class: "cell", "data-state": status, "aria-hidden": "true" }, SIGN[status] ?? "?"), h("b", null, status), ` ${reason}`),
    h("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
    checks.length > 0 ? h("h3", null, "Checks") : h("p", { class: "quiet" }, "It has no active check; its traffic judges it."),
    ...checks.map((check) =>
      h("p", { class: "check-line" }, h("span", { class: "mono" }, check.asks), h("br"), `${check.verdict}`,
        check.streak > 0 ? `, ${check.streak} of ${check.threshold} against that` : "",
        check.last ? `; last: ${check.last.words} in ${millis(check.last.took_ms)}, at ${at(check.last.at)}` : "")),
    h("div", { class: "actions" }, drain),
  ];
}
