// @ts-check
// Building blocks for the elements. Text goes into text nodes only; nothing here parses markup.

import { store } from "./store.js";

/** @import {State} from "./types.js" */

const SVG = "http://www.w3.org/2000/svg";

// Characters that can make text read differently from what was said (bidi controls), and control characters.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g;

/** Text from outside, safe to show. @param {string|null|undefined} text */
export const clean = (text) => (text ?? "").replace(UNSEEN, "");

/**
 * Makes an element. `on` holds listeners, `false` and `null` leave an attribute out, `true` sets it empty.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string|number|boolean|null|undefined|Record<string, (event: any) => void>>} [attributes]
 * @param {...(Node|string|null)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on" && value && typeof value === "object") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value !== null && value !== undefined && typeof value !== "object") {
      attribute(element, name, value);
    }
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** @param {string} tag @param {Record<string, string|number>} attributes @param {...Element} children */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** Where an icon of the sprite is in this page; `sprite.js` puts it there. @param {string} name */
export const iconRef = (name) => `#icon-${name}`;

/** A decorative icon of the sprite. @param {string} name @returns {SVGElement} */
export function icon(name) {
  const use = svg("use");
  const image = svg("svg", { class: "icon", "aria-hidden": "true", focusable: "false" }, use);
  setIcon(image, name);
  return /** @type {SVGElement} */ (image);
}

/** @param {Element} image @param {string} name */
export function setIcon(image, name) {
  attribute(/** @type {Element} */ (image.firstElementChild), "href", iconRef(name));
}

/** Sets or removes an attribute, only when it changes. @param {Element} element @param {string} name @param {string|number|boolean|null|undefined} value */
export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Sets text, only when it changes, so that live regions speak once. @param {Node} node @param {string} text */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {HTMLElement} element @param {boolean} shown */
export function show(element, shown) {
  if (element.hidden !== shown) return;
  if (!shown) passFocus(element);
  element.hidden = !shown;
}

/**
 * The focus in what goes away would fall to the page. It goes to the nearest heading, where a key that is pressed once
 * more does no harm, and from where the next Tab goes on.
 * @param {Element} leaving
 */
export function passFocus(leaving) {
  if (leaving.contains(document.activeElement)) settleFocus(leaving);
}

/** Puts the focus to the heading nearest to what had it. @param {Element} lost */
export function settleFocus(lost) {
  for (let at = lost.parentElement; at; at = at.parentElement) {
    const within = at === document.body ? document.querySelectorAll("tk-call h2") : at.querySelectorAll("h2, h3");
    const heading = [...within].find((one) => !lost.contains(one) && one.checkVisibility());
    if (!heading) continue;
    attribute(heading, "tabindex", "-1");
    return /** @type {HTMLElement} */ (heading).focus({ preventScroll: true });
  }
}

/**
 * Makes the children of `parent` follow `items`, keeping each item's element (and its focus).
 * @template T
 * @param {Element} parent
 * @param {readonly T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T) => HTMLElement} create
 * @param {(element: HTMLElement, item: T) => void} update
 */
export function keyed(parent, items, key, create, update) {
  /** @type {Map<string, HTMLElement>} */
  const old = new Map();
  for (const child of /** @type {Iterable<HTMLElement>} */ (parent.children)) old.set(child.dataset.key ?? "", child);
  /** @type {Element|null} */
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let element = old.get(name);
    old.delete(name);
    if (!element) {
      element = create(item);
      element.dataset.key = name;
    }
    update(element, item);
    if (element === next) next = next.nextElementSibling;
    else move(element, parent, next);
  }
  for (const element of old.values()) {
    passFocus(element);
    element.remove();
  }
}

/** To another place, without losing the focus in it. @param {HTMLElement} element @param {Element} parent @param {Element|null} next */
function move(element, parent, next) {
  const { activeElement } = document;
  const kept = activeElement !== document.body && element.contains(activeElement) ? activeElement : null;
  parent.insertBefore(element, next);
  if (kept) /** @type {HTMLElement} */ (kept).focus({ preventScroll: true });
}

/** @type {Set<Part>} */
const stale = new Set();

/** Draws once a frame, however many changes came in it; a hidden page draws when it is seen again. @param {Part} part */
function soon(part) {
  stale.add(part);
  if (stale.size > 1) return;
  requestAnimationFrame(() => {
    const parts = [...stale];
    stale.clear();
    for (const one of parts) if (one.isConnected) one.update(store.state);
  });
}

/** An element of the panel: its children are made once, in the constructor, and then updated from the state. */
export class Part extends HTMLElement {
  /** Whether it may wait for the next frame. Not where a key pressed right after needs what this one shows. */
  lazy = false;
  /** @type {Node[]} */
  content = [];
  /** @type {(() => void)|null} */
  #unwatch = null;

  connectedCallback() {
    if (!this.firstChild) this.append(...this.content);
    this.#unwatch = store.watch((state) => (this.lazy ? soon(this) : this.update(state)));
    this.update(store.state);
  }

  disconnectedCallback() {
    this.#unwatch?.();
    this.#unwatch = null;
  }

  /** Brings the children up to date. @param {State} _state */
  update(_state) {}
}
