// @ts-check
// Who may come in: people and machines, for administrators. Loaded when it is first asked for.

import { api } from "../api.js";
import { clean, h, icon } from "../dom.js";
import { t } from "../messages.js";
import { failed, notice } from "../notices.js";
import { store } from "../store.js";

/** @typedef {{role: string, queues: string[], tenants: string[]}} Rights */
/** @typedef {Rights & {id: string, username: string, name: string}} User */
/** @typedef {Rights & {name: string, ai: string}} Token */
/** @typedef {Record<string, string>} Given what stands in a form */

const MIN_PASSWORD = 10;
const ROLES = ["agent", "supervisor", "admin"];
const TOKEN_ROLES = ["ai", "metrics", ...ROLES];

class People extends HTMLElement {
  connectedCallback() {
    this.users = h("ul", { class: "accounts", "aria-labelledby": "people-users" });
    this.tokens = h("ul", { class: "accounts", "aria-labelledby": "people-tokens" });
    /** Where one of them is added or changed. */
    this.place = h("div");
    this.replaceChildren(
      this.place,
      h(
        "div",
        { class: "lists", tabindex: "0", role: "region", "aria-label": t("people.title"), "data-scrolls": "" },
        head("users", () => this.edit(this.personForm(null))),
        this.users,
        head("tokens", () => this.edit(this.tokenForm())),
        h("p", { class: "hint" }, t("people.tokens-hint")),
        this.tokens,
      ),
    );
    void this.load();
  }

  async load() {
    try {
      const [{ users }, { tokens }] = await Promise.all([api.users(), api.tokens()]);
      this.users?.replaceChildren(...users.map((/** @type {User} */ one) => this.user(one)));
      this.tokens?.replaceChildren(...tokens.map((/** @type {Token} */ one) => this.token(one)));
    } catch (error) {
      failed(error);
    }
  }

  /** Does it, and shows what is then. @param {() => Promise<string>} act gives the words for it @param {() => Node[]} [left] what is shown instead of a form */
  async did(act, left = () => []) {
    try {
      notice("good", await act());
      this.place?.replaceChildren(...left());
    } catch (error) {
      return failed(error);
    }
    await this.load();
  }

  /** @param {HTMLElement} form */
  edit(form) {
    this.place?.replaceChildren(form);
    /** @type {HTMLElement|null} */ (form.querySelector("input:enabled"))?.focus();
  }

  /** @param {User} one */
  user(one) {
    const names = { name: clean(one.name), username: clean(one.username) };
    const change = h(
      "button",
      {
        type: "button",
        "data-testid": "person-change",
        "aria-label": `${t("people.change")}: ${names.username}`,
        on: { click: () => this.edit(this.personForm(one)) },
      },
      t("people.change"),
    );
    return entry("person", names.username, names.name, [t(`role.${one.role}`), ...reach(one)], change);
  }

  /** @param {Token} one */
  token(one) {
    const name = clean(one.name);
    const revoke = sure(t("people.revoke"), t("people.revoke-sure"), name, "token-revoke", () =>
      this.did(async () => {
        await api.revokeToken(one.name);
        return t("people.revoked", { name });
      }),
    );
    const what = one.ai ? [t("role.ai"), clean(one.ai)] : [t(`role.${one.role}`)];
    return entry("token", name, name, [...what, ...reach(one)], revoke);
  }

  /** @param {User|null} one null: somebody new */
  personForm(one) {
    const mine = one !== null && one.id === store.state.me?.id; // one's own rights are for another administrator
    const name = clean(one?.name);
    const save = (/** @type {Given} */ given) =>
      this.did(async () => {
        const rights = { role: given.role, queues: names(given.queues), tenants: names(given.tenants) };
        if (one === null) {
          const { username, password } = given;
          await api.addUser({ username, password, name: given.name, ...rights });
          return t("people.added", { name: username ?? "" });
        }
        if (!mine) await api.changeUser(one.username, rights);
        if (given.password) await api.setPassword(one.username, given.password);
        return t("people.changed", { name });
      });
    const remove = sure(t("people.remove"), t("people.remove-sure"), name, "person-remove", () =>
      this.did(async () => {
        await api.removeUser(one?.username ?? "");
        return t("people.removed", { name });
      }),
    );
    return this.form(
      one === null ? t("people.new-users") : name,
      mine ? t("people.you") : "",
      [
        one === null ? text("username", { required: true, maxlength: "64", pattern: NAME }) : null,
        one === null ? text("name", { maxlength: "128" }) : null,
        ...(mine ? [] : rights(one, ROLES)),
        text("password", {
          type: "password",
          autocomplete: "new-password",
          required: one === null,
          minlength: String(MIN_PASSWORD),
          maxlength: "256",
          placeholder: t(one === null ? "password.rule" : "people.as-it-is", { n: MIN_PASSWORD }),
          title: t("password.rule", { n: MIN_PASSWORD }),
        }),
      ],
      save,
      one === null || mine ? null : remove,
    );
  }

  tokenForm() {
    const save = (/** @type {Given} */ given) => {
      const { name = "", role, ai } = given;
      const whose = role === "metrics" ? {} : { queues: names(given.queues), tenants: names(given.tenants) };
      let token = "";
      const add = async () => {
        token = (await api.addToken({ name, role, ...(role === "ai" ? { ai } : {}), ...whose })).token;
        return t("people.token-added", { name });
      };
      return this.did(add, () => [secret(name, token)]);
    };
    const ai = text("ai", { required: true, maxlength: "64" });
    const fields = [text("token-name", { required: true, maxlength: "64", pattern: NAME, name: "name" })];
    const form = this.form(t("people.new-tokens"), "", [...fields, ...rights(null, TOKEN_ROLES), ai], save, null);
    const follow = () => {
      const role = new FormData(form).get("role");
      visible(ai, role === "ai");
      for (const one of ["queues", "tenants"])
        visible(/** @type {HTMLElement} */ (form.querySelector(`#people-${one}`)?.parentElement), role !== "metrics");
    };
    form.addEventListener("change", follow);
    follow();
    return form;
  }

  /**
   * @param {string} title @param {string} hint @param {(HTMLElement|null)[]} fields
   * @param {(given: Given) => unknown} save @param {HTMLElement|null} remove
   */
  form(title, hint, fields, save, remove) {
    const form = h(
      "form",
      {
        class: "account",
        "aria-labelledby": "people-form",
        on: {
          submit: (/** @type {Event} */ event) => {
            event.preventDefault();
            const given = [...new FormData(form)].map(([name, value]) => [name, String(value)]);
            void save(Object.fromEntries(given));
          },
        },
      },
      h("h3", { id: "people-form" }, title),
      hint ? h("p", { class: "hint" }, hint) : null,
      h("div", { class: "wanted" }, ...fields),
      h(
        "div",
        { class: "buttons" },
        remove,
        h("span", { class: "spring" }),
        h("button", { type: "button", on: { click: () => this.place?.replaceChildren() } }, t("cancel")),
        h("button", { type: "submit", class: "primary", "data-testid": "people-save" }, t("people.save")),
      ),
    );
    return form;
  }
}

/** As the server takes names; the `v` flag of HTML patterns wants the signs escaped. */
const NAME = "[A-Za-z0-9][A-Za-z0-9._@+\\-]*";

/** @param {string} list @param {() => void} add */
const head = (list, add) =>
  h(
    "div",
    { class: "head" },
    h("h3", { id: `people-${list}` }, t(`people.${list}`)),
    h("button", { type: "button", "data-testid": `new-${list}`, on: { click: add } }, t(`people.new-${list}`)),
  );

/** @param {string} kind @param {string} key @param {string} name @param {string[]} facts @param {HTMLElement} act */
const entry = (kind, key, name, facts, act) =>
  h(
    "li",
    { "data-testid": `${kind}-row`, "data-name": key },
    h("strong", {}, name),
    h("span", { class: "hint" }, [...(name === key ? [] : [key]), ...facts].join(" · ")),
    act,
  );

/** Which calls somebody reaches, in words. @param {Rights} one @returns {string[]} */
function reach(one) {
  const parts = /** @type {const} */ (["queues", "tenants"]).filter((part) => !one[part].includes("*"));
  if (!parts.length) return one.role === "metrics" ? [] : [t("people.all-calls")];
  return parts.map((part) => `${t(`people.${part}`)}: ${one[part].map(clean).join(", ")}`);
}

/** @param {Rights|null} one @param {string[]} roles @returns {HTMLElement[]} */
function rights(one, roles) {
  const role = h(
    "select",
    { id: "people-role", name: "role", "data-testid": "people-role" },
    ...roles.map((slug) => h("option", { value: slug, selected: slug === one?.role }, t(`role.${slug}`))),
  );
  const list = (/** @type {"queues"|"tenants"} */ part) =>
    text(part, { required: true, value: (one?.[part] ?? ["*"]).map(clean).join(", "), title: t("people.reach-hint") });
  return [labelled("role", role), list("queues"), list("tenants")];
}

/** @param {string} name @param {Record<string, string|boolean>} attributes */
const text = (name, attributes) =>
  labelled(
    name,
    h("input", { id: `people-${name}`, name, "data-testid": `people-${name}`, autocomplete: "off", ...attributes }),
  );

/** @param {string} name @param {HTMLElement} control */
const labelled = (name, control) => h("div", {}, h("label", { for: `people-${name}` }, t(`people.${name}`)), control);

/** What is hidden is not asked for. @param {HTMLElement} field @param {boolean} wanted */
function visible(field, wanted) {
  field.hidden = !wanted;
  for (const input of field.querySelectorAll("input")) input.disabled = !wanted;
}

/** A list as it is written. @param {string|undefined} given */
const names = (given) => [...new Set((given ?? "").split(",").map((one) => one.trim()))].filter(Boolean);

/** A button that asks once more. @param {string} first @param {string} then @param {string} of @param {string} hook @param {() => unknown} run */
function sure(first, then, of, hook, run) {
  const button = h("button", { type: "button", "data-testid": hook, "aria-label": `${first}: ${of}` }, first);
  button.addEventListener("click", () => {
    if (button.dataset.asked) return void run();
    button.dataset.asked = "true";
    button.className = "danger";
    button.textContent = then;
    button.setAttribute("aria-label", `${then} ${of}`);
  });
  return button;
}

/** @param {string} name @param {string} token */
function secret(name, token) {
  const shown = h("output", { class: "secret", "data-testid": "token-secret", tabindex: "-1" }, token);
  const copy = async () => {
    await navigator.clipboard.writeText(token);
    notice("good", t("people.copied"));
  };
  return h(
    "div",
    { class: "account", role: "status" },
    h("p", {}, icon("info"), t("people.secret", { name: clean(name) })),
    shown,
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", on: { click: () => copy().catch(failed) } }, t("people.copy")),
    ),
  );
}

customElements.define("tk-people", People);
