// Drain and undrain: said in words, confirmed, ordered by POST.

import { open } from "./dialog";
import { h, show } from "./dom";
import { announce } from "./shell";
import { post, Refused } from "./api";

/** What is drained: an endpoint `CLUSTER/ADDRESS`, or a zone. */
export type Scope = { endpoint: string } | { zone: string; cluster?: string };

const named = (scope: Scope): string => ("endpoint" in scope ? `endpoint ${scope.endpoint}` : `zone ${scope.zone}${scope.cluster ? ` of ${scope.cluster}` : ""}`);

const TIMES = [["10m", "10 minutes"], ["1h", "1 hour"], ["4h", "4 hours"], ["", "until told otherwise"]] as const;

/** Asks whether `scope` shall be drained (or no longer), and orders it. */
export function confirmDrain(scope: Scope, drained: boolean, count: number): void {
  const endpoints = count === 1 ? "1 endpoint" : `${count} endpoints`;
  const effect = drained
    ? `${endpoints} may be picked again, as far as checks and traffic allow.`
    : `${endpoints} will be given no new work. Requests under way are finished; sessions bound there move.`;
  const title = drained ? "Undrain?" : "Drain?";
  const times = h("select", { id: "drain-for" }, ...TIMES.map(([value, words]) => h("option", { value }, words)));
  const force = h("input", { type: "checkbox", id: "drain-force" });
  const forced = h("p", { class: "force", hidden: true }, force, h("label", { for: "drain-force" }, " Drain it all the same (force)"));
  const error = h("p", { class: "wrong", role: "alert", hidden: true });
  const go = h("button", { class: drained ? "primary" : "danger", type: "submit" }, drained ? "Undrain" : "Drain");
  open(title, (close) => {
    const cancel = h("button", { type: "button", onclick: close }, "Cancel");
    const form = h(
      "form",
      { method: "dialog" },
      h("p", { class: "what" }, named(scope)),
      h("p", null, effect),
      !drained && h("p", { class: "field" }, h("label", { for: "drain-for" }, "For "), times),
      forced,
      error,
      h("div", { class: "actions" }, cancel, go),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      go.disabled = true;
      order(scope, drained, times.value, force.checked)
        .then((words) => {
          announce(words);
          close();
        })
        .catch((refused: unknown) => {
          go.disabled = false;
          error.textContent = refused instanceof Error ? refused.message : String(refused);
          show(error, true);
          // The last usable endpoints are drained only by whoever says so twice.
          show(forced, refused instanceof Refused && refused.parameter === "force");
        });
    });
    queueMicrotask(() => cancel.focus());
    return [form];
  });
}

async function order(scope: Scope, drained: boolean, lasts: string, force: boolean): Promise<string> {
  const query = new URLSearchParams(scope as Record<string, string>);
  query.set("by", "the status page");
  if (!drained && lasts) query.set("for", lasts);
  if (!drained && force) query.set("force", "true");
  const answer = await post<{ text: string }>(`/api/v1/${drained ? "undrain" : "drain"}?${query.toString()}`);
  return answer.text;
}
