// @ts-check
// After a call that I spoke in: how it came out, and a note for the record. It never stands in the way of the next call.

import * as actions from "../actions.js";
import { clean, h, icon, Part, say, show } from "../dom.js";
import { t } from "../messages.js";
import { store } from "../store.js";

/** @import {State} from "../types.js" */

const OUTCOMES = ["resolved", "handed-back", "transferred", "call-back", "unresolved", "abuse"];

class WrapUp extends Part {
  /** @type {State["wrapUp"]} */
  shown = null;

  constructor() {
    super();
    this.label = h("label", { for: "outcome", id: "wrap-up-title" });
    this.outcome = h(
      "select",
      { id: "outcome", required: true, "data-testid": "wrap-up-outcome" },
      h("option", { value: "" }, t("wrap-up.choose")),
      ...OUTCOMES.map((one) => h("option", { value: one }, t(`outcome.${one}`))),
    );
    this.note = h("input", {
      type: "text",
      "data-testid": "wrap-up-note",
      maxlength: "2000",
      autocomplete: "off",
      placeholder: t("wrap-up.note"),
      "aria-label": t("wrap-up.note"),
    });
    this.form = h(
      "form",
      {
        class: "wrap-up",
        "data-testid": "wrap-up",
        "aria-labelledby": "wrap-up-title",
        on: {
          submit: (/** @type {Event} */ event) => {
            event.preventDefault();
            void actions.wrapUp(this.outcome.value, this.note.value);
          },
        },
      },
      icon("clipboard-pen"),
      this.label,
      this.outcome,
      this.note,
      h("button", { type: "submit", "data-testid": "wrap-up-save" }, t("wrap-up.save")),
      h(
        "button",
        {
          type: "button",
          class: "quiet",
          "data-testid": "wrap-up-skip",
          "aria-label": t("wrap-up.skip"),
          title: t("wrap-up.skip"),
          on: { click: () => store.dispatch({ type: "wrap-up-over" }) },
        },
        icon("x"),
      ),
    );
    this.content = [this.form];
  }

  /** @param {State} state */
  update(state) {
    const { wrapUp } = state;
    show(this.form, wrapUp !== null && state.site.wrapUp);
    if (wrapUp === this.shown) return;
    this.shown = wrapUp;
    if (!wrapUp) return;
    this.outcome.value = this.note.value = "";
    say(this.label, t("wrap-up.title", { caller: clean(wrapUp.caller) || t("caller.unknown") }));
  }
}

customElements.define("tk-wrapup", WrapUp);
