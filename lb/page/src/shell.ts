// The frame around every view: who this is, how it is, where one can go.

import { attr, fill, h, show, text } from "./dom";
import { icon, type IconName } from "./icons";
import { on, store } from "./store";

export interface View {
  /** The last part of the address, `#/NAME`. */
  name: IconName;
  title: string;
  /** Builds it into `root`; what is returned ends it. */
  mount(root: HTMLElement): () => void;
}

const announcer = h("p", { class: "sr", "aria-live": "polite", role: "status" });

/** Tells people who hear the page, not see it. */
export function announce(words: string): void {
  announcer.textContent = words;
}

export function start(views: View[]): void {
  const first = views[0]!;
  const main = h("main", { id: "main", tabindex: -1 });
  const links = new Map(
    views.map((view) => [view.name, h("a", { href: `#/${view.name}` }, icon(view.name), h("span", null, view.title))]),
  );
  const nav = h("nav", { "aria-label": "Views" }, h("ul", null, ...[...links.values()].map((link) => h("li", null, link))));
  // Not a link: its address would be a view's.
  const skip = h("button", { class: "skip", type: "button", onclick: () => main.focus() }, "Skip to content");
  document.body.append(skip, header(), nav, main, announcer);

  let end = (): void => {};
  let shown = "";
  const route = (): void => {
    const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("?");
    const view = views.find((view) => view.name === name) ?? first;
    for (const [its, link] of links) attr(link, "aria-current", its === view.name ? "page" : null);
    const key = `${view.name}?${rest.join("?")}`;
    if (key === shown) return;
    const came = shown !== "";
    end();
    main.className = `view-${view.name}`;
    const heading = h("h1", { tabindex: -1 }, view.title);
    const root = h("div", { class: "view" });
    fill(main, heading, root);
    document.title = `${view.title} · Weir`;
    end = view.mount(root);
    shown = key;
    window.scrollTo(0, 0);
    // Whoever listens is told where they are now; not at the start, where the page's own title is read.
    if (came) heading.focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", route);
  route();
}

/** What the address says after `?`. */
export function parameters(): URLSearchParams {
  return new URLSearchParams(location.hash.split("?")[1] ?? "");
}

function header(): HTMLElement {
  const instance = h("span", { class: "instance" });
  const zone = h("span", { class: "tag" });
  const version = h("span", { class: "quiet version" });
  const phase = h("span", { class: "tag phase" });
  const live = h("span", { class: "live", role: "status" }, h("span", { class: "dot", "aria-hidden": "true" }), h("span", { class: "live-words" }));
  const liveWords = live.lastElementChild!;
  on(["state", "line"], () => {
    const { state, connected, why } = store;
    text(liveWords, connected ? "live" : why);
    attr(live, "data-connected", String(connected));
    if (!state) return;
    text(instance, state.instance);
    text(version, `v${state.version}`);
    show(zone, state.zone !== null);
    text(zone, `zone ${state.zone}`);
    text(phase, state.phase);
    attr(phase, "data-phase", state.phase);
  });
  const logo = h("img", { src: "/page/icon.svg", alt: "", width: 28, height: 28 });
  return h("header", null, h("a", { class: "brand", href: "#/overview", "aria-label": "Weir, overview" }, logo, h("b", null, "Weir")), instance, zone, phase, version, live);
}
