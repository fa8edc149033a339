// What happened, newest first, each with its evidence.

import { h, keyed, show, text } from "../dom";
import { at, many, words } from "../format";
import { icon } from "../icons";
import type { View } from "../shell";
import { on, store } from "../store";
import type { Event } from "../types";

const STEP = 100;

export const timeline: View = {
  name: "timeline",
  title: "Timeline",
  mount(root) {
    let shown = STEP;
    const search = h("input", { type: "search", id: "find", placeholder: "in words and evidence", autocomplete: "off", spellcheck: "false" });
    const level = h("select", { id: "level" }, h("option", { value: "info" }, "everything"), h("option", { value: "warn" }, "warnings and errors"), h("option", { value: "error" }, "errors"));
    const kind = h("select", { id: "kind" }, h("option", { value: "" }, "of every kind"));
    const counts = h("p", { class: "quiet", role: "status" });
    const list = h("ol", { class: "events card" });
    const more = h("button", { type: "button", class: "small" }, "Show older ones");
    root.append(
      h("form", { class: "filters", role: "search", onsubmit: (event: SubmitEvent) => event.preventDefault() },
        h("label", { for: "find" }, "Find"), search, h("label", { for: "level", class: "sr" }, "Level"), level, h("label", { for: "kind", class: "sr" }, "Kind"), kind),
      counts, list, more);
    const draw = (): void => {
      const kinds = [...new Set(store.events.map((event) => event.kind))].sort();
      kinds.filter((its) => ![...kind.options].some((option) => option.value === its)).forEach((its) => kind.append(h("option", { value: its }, words(its))));
      const fitting = store.events.filter(fits(search.value.trim().toLowerCase(), level.value, kind.value));
      text(counts, `${many(fitting.length, "event")}${fitting.length < store.events.length ? ` of ${store.events.length}` : ""}`);
      keyed(list, fitting.slice(0, shown), (event) => `${store.state?.started}${event.id}`, item);
      show(more, fitting.length > shown);
    };
    more.addEventListener("click", () => ((shown += STEP), draw()));
    for (const input of [search, level, kind]) input.addEventListener("input", () => ((shown = STEP), draw()));
    draw();
    return on(["events"], draw);
  },
};

const RANK = { info: 0, warn: 1, error: 2 };

function fits(wanted: string, level: string, kind: string): (event: Event) => boolean {
  return (event) =>
    RANK[event.level] >= RANK[level as keyof typeof RANK] &&
    (kind === "" || event.kind === kind) &&
    (wanted === "" || `${event.message} ${event.kind} ${JSON.stringify(event.fields)}`.toLowerCase().includes(wanted));
}

function item(event: Event): HTMLElement {
  const evidence = h("div", { class: "evidence" });
  const details = h("details", null,
    h("summary", null, icon(event.level), h("time", { datetime: event.time }, at(event.time)), h("span", { class: "tag" }, words(event.kind)), h("span", { class: "message" }, event.message)),
    evidence);
  // Made when it is looked at: hundreds of trees nobody opens cost time.
  details.addEventListener("toggle", () => {
    if (details.open && !evidence.firstChild) evidence.append(h("p", { class: "quiet" }, `event ${event.id}, ${event.time}`), tree(event.fields));
  }, { once: true });
  return h("li", { "data-level": event.level }, details);
}

/** Any JSON as lists of names and values. */
function tree(value: unknown): HTMLElement {
  if (value === null || typeof value !== "object") return h("span", { class: "mono" }, value === null ? "none" : String(value));
  const entries = Object.entries(value).filter(([, inner]) => inner !== null);
  if (entries.length === 0) return h("span", { class: "quiet" }, "nothing");
  return h("dl", { class: "facts" }, ...entries.flatMap(([name, inner]) => [h("dt", null, Array.isArray(value) ? `${Number(name) + 1}` : words(name)), h("dd", null, tree(inner))]));
}
