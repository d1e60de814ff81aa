// @ts-check
// Short messages. Errors stay until they are dismissed where they ask for something.

import { attribute, h, icon, keyed, Part, say, setIcon } from "../dom.js";
import { t } from "../messages.js";
import { store } from "../store.js";

/** @import {State} from "../types.js" */

const ICONS = { info: "info", good: "check", error: "circle-alert" };

class Toasts extends Part {
  /** @type {State["dialog"]} */
  dialog = null;

  constructor() {
    super();
    this.list = h("div", {
      class: "toasts",
      popover: "manual",
      "aria-live": "polite",
      role: "status",
      "aria-label": t("toasts.label"),
    });
    this.content = [this.list];
  }

  connectedCallback() {
    super.connectedCallback();
    this.list.showPopover();
  }

  /** @param {State} state */
  update(state) {
    if (state.dialog !== this.dialog) {
      this.dialog = state.dialog;
      // A dialog opens above everything that was there before it, also above what says that something went wrong in it.
      requestAnimationFrame(() => {
        this.list.hidePopover();
        this.list.showPopover();
      });
    }
    keyed(
      this.list,
      state.notices,
      (one) => String(one.id),
      (one) =>
        h(
          "div",
          { class: "toast", "data-testid": "toast" },
          icon("info"),
          h("span"),
          h(
            "button",
            {
              type: "button",
              class: "quiet",
              "aria-label": t("dismiss"),
              on: { click: () => store.dispatch({ type: "notice-over", id: one.id }) },
            },
            icon("x"),
          ),
        ),
      (row, one) => {
        attribute(row, "data-tone", one.tone);
        setIcon(/** @type {Element} */ (row.firstElementChild), ICONS[one.tone]);
        say(/** @type {Element} */ (row.children[1]), one.text);
      },
    );
  }
}

customElements.define("tk-toasts", Toasts);
