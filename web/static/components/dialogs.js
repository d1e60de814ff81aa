// @ts-check
// Questions that must be answered: end the call, take it from a colleague; and the sheet of keys.

import * as actions from "../actions.js";
import { goOnDuty, moveLine } from "../duty.js";
import { destinationsOf, name } from "../derive.js";
import { clean, h, icon, Part, settleFocus } from "../dom.js";
import { enable, enabled, SHORTCUTS } from "../keys.js";
import { t } from "../messages.js";
import { failed } from "../notices.js";
import { store } from "../store.js";
import "./check.js";

/** @import {State, Dialog, Mode} from "../types.js" */

const KEYPAD = "123456789*0#";

class Dialogs extends Part {
  /** @type {Dialog|null} */
  shown = null;
  /** What had the focus before; it may have gone meanwhile. @type {Element|null} */
  opener = null;

  constructor() {
    super();
    this.dialog = h("dialog", {
      "aria-labelledby": "dialog-title",
      on: { close: () => this.closed() },
    });
    this.content = [this.dialog];
  }

  closed() {
    store.dispatch({ type: "dialog", dialog: null });
    const { opener } = this;
    this.opener = null;
    if (opener && opener !== document.body && document.activeElement === document.body) settleFocus(opener);
  }

  /** @param {State} state */
  update(state) {
    const dialog = this.dialog;
    const asked = state.dialog;
    if (asked && "call" in asked && !state.calls.has(asked.call)) {
      dialog.close();
      return;
    }
    if (asked === this.shown) return;
    this.shown = asked;
    if (!asked) {
      dialog.close();
      return dialog.replaceChildren(); // what runs in it, runs no longer
    }
    dialog.replaceChildren(...this.body(asked, state));
    if (dialog.open) return;
    this.opener = document.activeElement;
    dialog.showModal();
  }

  /** @param {Dialog} asked @param {State} state @returns {Node[]} */
  body(asked, state) {
    if (asked.kind === "shortcuts") return this.sheet();
    if (asked.kind === "check") return this.check(state);
    if (asked.kind === "audit") return this.sheetOf("audit", "scroll-text", () => import("./audit.js"));
    if (asked.kind === "people") return this.sheetOf("people", "users", () => import("./people.js"));
    if (asked.kind === "password") return this.password();
    if (asked.kind === "move-line")
      return this.question("headset", t("move.title"), t("move.text"), [
        button(t("cancel"), "move-cancel", () => this.close(), { autofocus: true }),
        button(t("move.confirm"), "move-confirm", () => this.close(moveLine), { class: "primary" }),
      ]);
    const call = state.calls.get(asked.call);
    const caller = clean(call ? name(call) : "") || t("caller.unknown");
    if (asked.kind === "end-call")
      return this.question(
        "phone-off",
        t("end.title", { caller }),
        t("end.text", { caller, ai: clean(call?.ai.name) }),
        [
          button(t("end.cancel"), "end-call-cancel", () => this.close(), { autofocus: true }),
          button(t("end.confirm"), "end-call-confirm", () => this.close(() => actions.endCall(asked.call)), {
            class: "danger",
          }),
        ],
      );
    if (asked.kind === "help") return this.help(asked.call, caller);
    if (asked.kind === "keypad") return this.keypad(asked.call, clean(call?.ai.name));
    if (asked.kind === "transfer") return this.transfer(asked.call, caller, destinationsOf(state, call ?? null));
    return this.override(asked, clean(asked.speaker));
  }

  /** @param {State} state @returns {Node[]} */
  check(state) {
    const on = button(t("duty.on"), "check-duty", () => this.close(goOnDuty), { class: "primary" });
    return [
      h("h2", { id: "dialog-title", tabindex: "-1", autofocus: true }, icon("stethoscope"), t("check.title")),
      h("p", {}, t("check.text")),
      document.createElement("tk-check"),
      h(
        "div",
        { class: "buttons" },
        button(t("close"), "check-close", () => this.close()),
        state.line.state === "up" ? null : on,
      ),
    ];
  }

  /** A large one, whose element is loaded now. @param {"audit"|"people"} kind @param {string} image @param {() => Promise<unknown>} load @returns {Node[]} */
  sheetOf(kind, image, load) {
    load().catch(failed);
    return [
      h(
        "header",
        {},
        h("h2", { id: "dialog-title", tabindex: "-1", autofocus: true }, icon(image), t(`${kind}.title`)),
        button(t("close"), `${kind}-close`, () => this.close()),
      ),
      document.createElement(`tk-${kind}`),
    ];
  }

  /** @returns {Node[]} */
  password() {
    import("./password.js").catch(failed);
    return [
      h("h2", { id: "dialog-title" }, icon("user"), t("password.title")),
      h("p", {}, t("password.text")),
      document.createElement("tk-password"),
    ];
  }

  /** @param {string} call @param {string} ai @returns {Node[]} */
  keypad(call, ai) {
    const sent = h("output", { class: "sent figures", "data-testid": "keypad-sent", "aria-label": t("keypad.sent") });
    const press = (/** @type {string} */ key) => {
      sent.append(key);
      void actions.dial(call, key);
    };
    const typed = (/** @type {KeyboardEvent} */ event) => {
      if (!event.ctrlKey && !event.altKey && !event.metaKey && KEYPAD.includes(event.key)) press(event.key);
    };
    return [
      h("h2", { id: "dialog-title" }, icon("grip"), t("act.keypad")),
      h("p", {}, t("keypad.text", { ai })),
      h(
        "div",
        { on: { keydown: typed } },
        sent,
        h(
          "div",
          { class: "keypad", role: "group", "aria-labelledby": "dialog-title" },
          ...[...KEYPAD].map((key, i) => button(key, `keypad-${key}`, () => press(key), { autofocus: i === 0 })),
        ),
        h(
          "div",
          { class: "buttons" },
          button(t("close"), "keypad-close", () => this.close(), { class: "primary" }),
        ),
      ),
    ];
  }

  /** @param {string} call @param {string} caller @param {string[]} keys @returns {Node[]} */
  transfer(call, caller, keys) {
    const choices = keys.map((key, i) =>
      h(
        "label",
        { class: "check" },
        h("input", {
          type: "radio",
          name: "to",
          value: key,
          required: true,
          autofocus: i === 0,
          "data-testid": `transfer-${key}`,
        }),
        clean(key),
      ),
    );
    const form = h(
      "form",
      {
        on: {
          submit: (/** @type {Event} */ event) => {
            event.preventDefault();
            const to = String(new FormData(form).get("to"));
            this.close(() => actions.transfer(call, to));
          },
        },
      },
      h("h2", { id: "dialog-title" }, icon("phone-forwarded"), t("transfer.title", { caller })),
      h("p", {}, t("transfer.text", { caller })),
      h("fieldset", { class: "choices" }, h("legend", { class: "unseen" }, t("transfer.to")), ...choices),
      h(
        "div",
        { class: "buttons" },
        button(t("cancel"), "transfer-cancel", () => this.close()),
        h("button", { type: "submit", class: "primary", "data-testid": "transfer-confirm" }, t("act.transfer")),
      ),
    );
    return [form];
  }

  /** @param {string} call @param {string} caller */
  help(call, caller) {
    const reason = h("input", {
      type: "text",
      id: "reason",
      "data-testid": "help-reason",
      maxlength: "200",
      required: true,
      autocomplete: "off",
      autofocus: true,
    });
    const priority = h(
      "select",
      { id: "priority", "data-testid": "help-priority" },
      ...["normal", "urgent", "emergency"].map((one) => h("option", { value: one }, t(`priority.${one}`))),
    );
    priority.value = "urgent";
    const ask = () =>
      actions.escalate(call, reason.value.trim(), /** @type {import("../types.js").Priority} */ (priority.value));
    return [
      h(
        "form",
        {
          on: {
            submit: (/** @type {Event} */ event) => {
              event.preventDefault();
              this.close(ask);
            },
          },
        },
        h("h2", { id: "dialog-title" }, icon("siren"), t("help.title", { caller })),
        h("p", {}, t("help.text")),
        h("label", { for: "reason" }, t("help.reason")),
        reason,
        h("label", { for: "priority" }, t("help.priority")),
        priority,
        h(
          "div",
          { class: "buttons" },
          button(t("cancel"), "help-cancel", () => this.close()),
          h("button", { type: "submit", class: "primary", "data-testid": "help-confirm" }, t("help.confirm")),
        ),
      ),
    ];
  }

  /** @param {Extract<Dialog, {kind: "override"}>} asked @param {string} speaker */
  override(asked, speaker) {
    const reason = h("input", {
      type: "text",
      id: "reason",
      "data-testid": "override-reason",
      maxlength: "200",
      required: true,
      autocomplete: "off",
      autofocus: true,
    });
    const confirm = h(
      "button",
      { type: "submit", class: "primary", "data-testid": "override-confirm" },
      t("override.confirm"),
    );
    const form = h(
      "form",
      {
        on: {
          submit: (/** @type {Event} */ event) => {
            event.preventDefault();
            this.close(() => actions.press(/** @type {Mode} */ (asked.mode), reason.value.trim()));
          },
        },
      },
      h("h2", { id: "dialog-title" }, t("override.title", { speaker })),
      h("p", {}, t("override.text", { speaker })),
      h("label", { for: "reason" }, t("override.reason")),
      reason,
      h(
        "div",
        { class: "buttons" },
        button(t("cancel"), "override-cancel", () => this.close()),
        confirm,
      ),
    );
    return [form];
  }

  /** @param {string} image @param {string} title @param {string} text @param {Node[]} buttons @returns {Node[]} */
  question(image, title, text, buttons) {
    return [
      h("h2", { id: "dialog-title" }, icon(image), title),
      h("p", {}, text),
      h("div", { class: "buttons" }, ...buttons),
    ];
  }

  /** @returns {Node[]} */
  sheet() {
    const on = h("input", {
      type: "checkbox",
      on: { change: (/** @type {Event} */ event) => enable(/** @type {HTMLInputElement} */ (event.target).checked) },
    });
    on.checked = enabled();
    const rows = SHORTCUTS.map((one) =>
      h("div", {}, h("dt", {}, ...one.shown.map((key) => h("kbd", {}, key))), h("dd", {}, t(`keys.${one.name}`))),
    );
    return [
      h("h2", { id: "dialog-title", "data-testid": "shortcuts" }, icon("keyboard"), t("keys.title")),
      h("dl", { class: "keys" }, ...rows),
      h("label", { class: "check" }, on, t("keys.enabled")),
      h(
        "div",
        { class: "buttons" },
        button(t("close"), "shortcuts-close", () => this.close(), { autofocus: true, class: "primary" }),
      ),
    ];
  }

  /** @param {() => unknown} [then] */
  close(then) {
    this.dialog?.close();
    store.dispatch({ type: "dialog", dialog: null });
    void then?.();
  }
}

/** @param {string} text @param {string} hook @param {() => void} run @param {Record<string, string|boolean>} [attributes] */
const button = (text, hook, run, attributes = {}) =>
  h("button", { type: "button", "data-testid": hook, ...attributes, on: { click: run } }, text);

customElements.define("tk-dialogs", Dialogs);
