// @ts-check
// One's own password. Loaded when it is first asked for.

import { api, Problem } from "../api.js";
import { h } from "../dom.js";
import { t } from "../messages.js";
import { failed, notice } from "../notices.js";
import { store } from "../store.js";

const MIN_PASSWORD = 10;

class Password extends HTMLElement {
  connectedCallback() {
    this.old = field("old", {
      autocomplete: "current-password",
      "aria-describedby": "password-wrong",
      autofocus: true,
    });
    const fresh = { autocomplete: "new-password", minlength: String(MIN_PASSWORD) };
    this.fresh = field("new", { ...fresh, "aria-describedby": "password-rule" });
    this.again = field("again", fresh);
    this.wrong = h("p", { class: "wrong", id: "password-wrong", role: "alert", "data-testid": "password-wrong" });
    this.save = h("button", { type: "submit", class: "primary", "data-testid": "password-save" }, t("password.save"));
    this.replaceChildren(
      h(
        "form",
        { on: { submit: (/** @type {Event} */ event) => this.submit(event), input: () => this.compare() } },
        ...labelled("old", this.old),
        this.wrong,
        ...labelled("new", this.fresh),
        h("p", { class: "hint", id: "password-rule" }, t("password.rule", { n: MIN_PASSWORD })),
        ...labelled("again", this.again),
        h(
          "div",
          { class: "buttons" },
          h("button", { type: "button", "data-testid": "password-cancel", on: { click: close } }, t("cancel")),
          this.save,
        ),
      ),
    );
    this.old.focus(); // where the dialog was there before this module: it has looked for what wants the focus
  }

  /** The browser says what is wrong with a field, and does not send it. */
  compare() {
    this.again?.setCustomValidity(this.again.value === this.fresh?.value ? "" : t("password.differ"));
  }

  /** @param {Event} event */
  async submit(event) {
    event.preventDefault();
    const { old, fresh, wrong, save } = this;
    if (!old || !fresh || !wrong || !save || save.disabled) return;
    save.disabled = true;
    wrong.textContent = "";
    old.removeAttribute("aria-invalid");
    try {
      await api.changePassword(old.value, fresh.value);
      notice("good", t("password.changed"));
      close();
    } catch (error) {
      if (!(error instanceof Problem) || error.slug === "not-logged-in") return failed(error);
      wrong.textContent = error.sentence;
      if (error.slug === "wrong-password") old.setAttribute("aria-invalid", "true");
      old.select();
    } finally {
      save.disabled = false;
    }
  }
}

const close = () => store.dispatch({ type: "dialog", dialog: null });

/** @param {string} name @param {Record<string, string|boolean>} attributes */
const field = (name, attributes) =>
  h("input", {
    type: "password",
    id: `password-${name}`,
    "data-testid": `password-${name}`,
    required: true,
    maxlength: "256",
    ...attributes,
  });

/** @param {string} name @param {HTMLElement} control */
const labelled = (name, control) => [h("label", { for: `password-${name}` }, t(`password.${name}`)), control];

customElements.define("tk-password", Password);
