// The configuration: what is in force, and what came of each attempt to change it.

import { get } from "../api";
import { fill, h, keyed, text } from "../dom";
import { ago, at } from "../format";
import { icon } from "../icons";
import type { View } from "../shell";
import { on, store } from "../store";
import type { Reload } from "../types";

export const config: View = {
  name: "config",
  title: "Config",
  mount(root) {
    const facts = h("dl", { class: "facts" });
    const reloads = h("ol", { class: "reloads" });
    const source = h("details", { class: "source" }, h("summary", null, "The text in force"));
    root.append(
      h("section", { class: "card" }, h("h2", null, "In force"), facts, source),
      h("section", { class: "card" }, h("h2", null, "Reloads"), h("p", { class: "quiet" }, "The last 20 attempts, the newest first. A refused one changes nothing."), reloads),
    );
    const stop = new AbortController();
    let known = "";
    const draw = (): void => {
      const config = store.state?.config;
      if (!config) return;
      const rows: [string, string][] = [["File", config.path], ["Generation", `${config.generation}, now ${store.state!.generation} by changes of health`], ["Since", `${at(config.since)} (${ago(config.since)})`], ["Hash", config.hash]];
      fill(facts, ...rows.flatMap(([name, value]) => [h("dt", null, name), h("dd", { class: name === "File" || name === "Hash" ? "mono" : "" }, value)]));
      // An attempt is an event, and an event is a state: looked at once for each.
      if (known === config.last_reload.at) return;
      known = config.last_reload.at;
      if (source.open) void text_of(source, stop.signal);
      get<{ reloads: Reload[] }>("/api/v1/reloads", stop.signal)
        .then((answer) => keyed(reloads, answer.reloads, (reload) => reload.at, item))
        .catch((error: unknown) => stop.signal.aborted || fill(reloads, h("li", { class: "wrong" }, String(error))));
    };
    source.addEventListener("toggle", () => source.open && void text_of(source, stop.signal));
    draw();
    const off = on(["state"], draw);
    return () => (off(), stop.abort());
  },
};

async function text_of(source: HTMLElement, signal: AbortSignal): Promise<void> {
  const pre = source.querySelector("pre") ?? source.appendChild(h("pre", { tabindex: 0, "aria-label": "The configuration in force" }));
  try {
    text(pre, (await get<{ text: string }>("/api/v1/config", signal)).text);
  } catch (error) {
    if (!signal.aborted) text(pre, String(error));
  }
}

const SIGNS = { applied: "good", unchanged: "info", rejected: "error" } as const;
const WORDS: Record<string, string> = { start: "at the start", file: "the file changed", signal: "by a signal", api: "asked for by the API" };

function item(reload: Reload): HTMLElement {
  const rejected = reload.result === "rejected";
  const what = rejected ? "Refused" : reload.result === "applied" ? `Applied as generation ${reload.generation}` : "Nothing changed";
  const told = reload.text || (rejected ? reload.message : "");
  return h("li", { "data-result": reload.result },
    h("h3", null, icon(SIGNS[reload.result as keyof typeof SIGNS] ?? "info"), what),
    h("p", { class: "quiet" }, h("time", { datetime: reload.at }, at(reload.at)), `, ${WORDS[reload.trigger] ?? reload.trigger}`, rejected ? `; generation ${reload.generation} stays in force` : ""),
    told && marked(told, rejected),
    reload.warnings_text && h("div", null, h("h4", null, "Warnings"), marked(reload.warnings_text, true)));
}

/** A text of mistakes or changes; the lines that point somewhere stand out. */
function marked(text: string, mistakes: boolean): HTMLElement {
  const line = (line: string): Node => {
    const sort = !mistakes ? (/^\s*[+-]/.test(line) ? "change" : "") : /^\s*(error|warning)/.test(line) ? "title" : /^[\s|]*\^/.test(line.replace(/^\s*\d*\s*\|/, "")) ? "pointer" : /^\s*(=\s*)?(help|hint|note)/.test(line) ? "hint" : /^\s*\d+\s*\|/.test(line) ? "source-line" : "";
    return h("span", { class: sort }, `${line}\n`);
  };
  return h("pre", { class: "told", tabindex: 0, "aria-label": mistakes ? "What is wrong" : "What changed" }, ...text.trimEnd().split("\n").map(line));
}
