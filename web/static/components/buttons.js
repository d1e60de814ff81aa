// @ts-check
// Buttons that several elements have in common.

import { h, icon, say, setIcon } from "../dom.js";

/** @typedef {Record<string, string|boolean>} Attributes */

/**
 * A button of picture, words and the key that does the same.
 * @param {string} image @param {string} words @param {string} key @param {(() => unknown)|null} run null: it submits its form
 * @param {Attributes} attributes
 */
export const act = (image, words, key, run, attributes) =>
  h(
    "button",
    { type: run ? "button" : "submit", "aria-keyshortcuts": key, ...attributes, on: run ? { click: run } : {} },
    icon(image),
    h("span", {}, words),
    h("kbd", { "aria-hidden": "true" }, key),
  );

/** Another picture and other words for such a button. @param {HTMLButtonElement} button @param {string} image @param {string} words */
export function relabel(button, image, words) {
  setIcon(/** @type {Element} */ (button.firstElementChild), image);
  say(/** @type {Element} */ (button.children[1]), words);
}

/** A button of a picture alone; its words are for who cannot see it. @param {string} image @param {string} words @param {() => unknown} run @param {Attributes} [attributes] */
export const picture = (image, words, run, attributes = {}) =>
  h("button", { type: "button", title: words, "aria-label": words, ...attributes, on: { click: run } }, icon(image));
