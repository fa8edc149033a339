// The whole framework: elements from calls, texts that are set only if they differ, lists by key.

type Child = Node | string | number | null | undefined | false;
type Props = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

/** An element. `on…` are listeners, `class` is a class, booleans are there or not; styles are set by code only, for the policy has none inline. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props?: Props | null, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (props) setProps(element, props);
  append(element, children);
  return element;
}

export function svg(tag: string, props: Props, ...children: Child[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setProps(element, props);
  append(element, children);
  return element;
}

function setProps(element: Element, props: Props): void {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

function append(element: Element, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    element.append(typeof child === "number" ? String(child) : child);
  }
}

/** Writes a text if it is another one: what did not change is not laid out again. */
export function text(node: Element, value: string): void {
  if (node.textContent !== value) node.textContent = value;
}

export function attr(node: Element, name: string, value: string | null): void {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Shows or hides. */
export function show(node: HTMLElement, shown: boolean): void {
  if (node.hidden === shown) node.hidden = !shown;
}

/** Brings the children of `parent` to `items`, in order; a child lives as long as its key does. */
export function keyed<T, E extends HTMLElement>(
  parent: Element,
  items: readonly T[],
  key: (item: T) => string,
  create: (item: T) => E,
  update?: (element: E, item: T) => void,
): void {
  const known = keyedChildren<E>(parent);
  const left = new Map(known);
  let next: ChildNode | null = parent.firstChild;
  for (const item of items) {
    const its = key(item);
    let element = left.get(its);
    if (element) left.delete(its);
    else {
      element = create(item);
      known.set(its, element);
    }
    update?.(element, item);
    if (element === next) next = next.nextSibling;
    else parent.insertBefore(element, next);
  }
  for (const [gone, element] of left) {
    known.delete(gone);
    element.remove();
  }
}

const lists = new WeakMap<Element, Map<string, HTMLElement>>();

function keyedChildren<E extends HTMLElement>(parent: Element): Map<string, E> {
  let known = lists.get(parent);
  if (!known) lists.set(parent, (known = new Map()));
  return known as Map<string, E>;
}

/** Replaces all children. */
export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  append(parent, children);
}
