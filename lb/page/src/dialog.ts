// Dialogs: the browser's own, which keep the focus and close with Escape.

import { h } from "./dom";

let opened = 0;

/** Opens a dialog with this heading; it is gone once it is closed. */
export function open(title: string, body: (close: () => void) => HTMLElement[], closed?: () => void): HTMLDialogElement {
  const id = `dialog-${++opened}`;
  const heading = h("h2", { id }, title);
  const dialog = h("dialog", { "aria-labelledby": id });
  const close = (): void => dialog.close();
  const cross = h("button", { class: "cross", type: "button", "aria-label": "Close", onclick: close }, "✕");
  dialog.append(h("div", { class: "dialog-head" }, heading, cross), ...body(close));
  dialog.addEventListener("close", () => {
    dialog.remove();
    closed?.();
  });
  // A click beside it closes it, as Escape does.
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks for the admin token, until there is one. */
export function askToken(): Promise<string> {
  return new Promise((resolve) => {
    let told = "";
    const input = h("input", { type: "password", id: "token", name: "token", autocomplete: "off", required: true, spellcheck: "false",
      // Nothing else is a token, or fits into a header.
      pattern: "\\s*[!-~]+\\s*", title: "One word of visible ASCII characters" });
    const form = h(
      "form",
      { method: "dialog" },
      h("p", null, "This admin address asks for a token: what is in the file that ", h("code", null, "admin.token_file"), " or ", h("code", null, "admin.read_token_file"), " names."),
      h("label", { for: "token" }, "Token"),
      input,
      h("p", { class: "quiet" }, "It is kept in this tab until it is closed, and sent to this address only."),
      h("div", { class: "actions" }, h("button", { class: "primary", type: "submit" }, "Look")),
    );
    const dialog = open("Who is looking?", (close) => {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        told = input.value.trim();
        if (told) close();
      });
      return [form];
    }, () => (told ? resolve(told) : void askToken().then(resolve)));
    dialog.classList.add("token");
  });
}
