// @ts-check
// Who did what, for supervisors: narrowed, page by page, and as a file. Loaded when it is first asked for.

import { api, auditFile } from "../api.js";
import { clean, h, icon, say, show } from "../dom.js";
import { has, t } from "../messages.js";
import { failed } from "../notices.js";

/** @typedef {{number: number, at: string, ended_at: string|null, actor: string, actor_name: string, act: string, call: string|null, result: string|null, facts: Record<string, string>}} Row */

const ACTS = [
  ...["monitor", "whisper", "barge", "takeover", "release", "hangup", "transfer", "dtmf", "coach"],
  ...["hold", "read-transcript", "escalate", "escalation-step", "withdraw-escalation", "wrap-up"],
  ...["login", "logout", "duty", "open-leg", "close-leg", "read-audit", "export-audit"],
  ...["add-token", "revoke-token", "add-user", "change-user", "set-password", "change-password", "remove-user"],
  ...["intrude", "webhook", "forget"],
];
/** Facts that only a machine can use; the export has them. */
const IDS = new Set(["engagement", "leg", "patch", "event", "token", "account"]);
/** Facts that nearly every act has. */
const WHERE = ["queue", "tenant", "origin"];
const RESULTS = ["ok", "open", "already-taken", "not-allowed", "not-logged-in", "mode-not-possible", "pbx-unavailable"];

class Audit extends HTMLElement {
  /** @type {string|null} */
  next = null;
  /** What the newest request was; an older one's answer is no news. */
  asked = 0;

  connectedCallback() {
    this.form = h(
      "form",
      {
        class: "wanted",
        on: { change: () => this.load(), submit: (/** @type {Event} */ event) => this.submit(event) },
      },
      field("actor", h("input", { id: "audit-actor", name: "actor", maxlength: "64", autocomplete: "off" })),
      field("act", choice("act", ACTS, done)),
      field("result", choice("result", RESULTS, result)),
      field("call", h("input", { id: "audit-call", name: "call", maxlength: "128", autocomplete: "off" })),
      field("since", h("input", { id: "audit-since", name: "since", type: "date" })),
      field("until", h("input", { id: "audit-until", name: "until", type: "date" })),
    );
    this.rows = h("tbody", { role: "rowgroup" });
    this.told = h("p", { class: "hint", role: "status", "data-testid": "audit-told" });
    this.more = h("button", { type: "button", "data-testid": "audit-more", on: { click: () => this.page() } });
    say(this.more, t("audit.more"));
    this.files = ["csv", "jsonl"].map((format) =>
      h(
        "a",
        { class: "button", download: `audit.${format}`, "data-testid": `audit-${format}` },
        icon("download"),
        t(`audit.${format}`),
      ),
    );
    const columns = ["at", "actor", "act", "call", "result", "facts"].map((name) =>
      h("th", { scope: "col", role: "columnheader" }, t(`audit.${name}`)),
    );
    this.replaceChildren(
      this.form,
      h(
        "div",
        { class: "table", role: "region", "aria-label": t("audit.title"), tabindex: "0", "data-scrolls": "" },
        // On a phone the rows are laid out as cards: without roles of their own, the table would be none any more.
        h(
          "table",
          { role: "table" },
          h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...columns)),
          this.rows,
        ),
        this.told,
      ),
      h("div", { class: "buttons" }, this.more, h("span", { class: "spring" }), ...this.files),
    );
    void this.load();
  }

  /** @param {Event} event */
  submit(event) {
    event.preventDefault();
    void this.load();
  }

  /** What is asked for, as the API takes it. */
  get wanted() {
    const wanted = new URLSearchParams();
    for (const [name, value] of new FormData(/** @type {HTMLFormElement} */ (this.form))) {
      const text = String(value).trim();
      if (text)
        wanted.set(name, name === "since" || name === "until" ? midnight(text, name === "until" ? 1 : 0) : text);
    }
    return wanted;
  }

  /** The first page of what is asked for. */
  async load() {
    this.next = null;
    for (const file of this.files ?? [])
      file.setAttribute("href", auditFile(this.wanted, (file.getAttribute("download") ?? "").split(".")[1] ?? ""));
    this.rows?.replaceChildren();
    await this.page();
  }

  async page() {
    const asked = ++this.asked;
    const [rows, told, more] = [this.rows, this.told, this.more];
    if (!rows || !told || !more) return;
    more.disabled = true;
    try {
      const page = await api.audit(this.wanted, this.next);
      if (asked !== this.asked) return;
      rows.append(...page.audit.map(row));
      this.next = page.next;
      say(told, rows.childElementCount ? "" : t("audit.none"));
      show(more, page.next !== null);
    } catch (error) {
      failed(error);
    } finally {
      more.disabled = false;
    }
  }
}

/** @param {string} name @param {HTMLElement} control */
const field = (name, control) => h("div", {}, h("label", { for: `audit-${name}` }, t(`audit.${name}`)), control);

/** @param {string} name @param {string[]} slugs @param {(slug: string) => string} words */
const choice = (name, slugs, words) =>
  h(
    "select",
    { id: `audit-${name}`, name, "data-testid": `audit-${name}` },
    h("option", { value: "" }, t("audit.all")),
    ...slugs.map((slug) => h("option", { value: slug }, words(slug))),
  );

/** @param {string} slug */
const done = (slug) => (has(`done.${slug}`) ? t(`done.${slug}`) : clean(slug));
/** A fact in words. @param {string} name @param {string} value */
function detail(name, value) {
  if (name === "on") return t(value === "true" ? "detail.on" : "detail.off");
  const words = name === "why" ? result(value) : value;
  return has(`detail.${name}`) ? t(`detail.${name}`, { value: words }) : `${clean(name)}: ${words}`;
}
/** @param {string} slug */
const result = (slug) => (has(`result.${slug}`) ? t(`result.${slug}`) : clean(slug));

/** The beginning of a day here, or of one of the next. @param {string} day @param {number} later */
function midnight(day, later) {
  const at = new Date(`${day}T00:00`);
  at.setDate(at.getDate() + later);
  return at.toISOString();
}

/** @param {Row} one */
function row(one) {
  const came = one.result ?? "open";
  const facts = Object.entries(one.facts)
    .filter(([name, value]) => value && !IDS.has(name) && !(name === "tenant" && value === "default"))
    .sort(([a], [b]) => WHERE.indexOf(a) - WHERE.indexOf(b)) // what is particular to the act comes first
    .map(([name, value]) => detail(name, clean(value)));
  const at = new Date(one.at).toLocaleString(navigator.languages, {
    dateStyle: "short",
    timeStyle: "medium",
  });
  return h(
    "tr",
    { "data-testid": "audit-row", "data-act": one.act, role: "row" },
    h("td", { class: "figures", role: "cell" }, h("time", { datetime: one.at }, at)),
    h("td", { role: "cell" }, clean(one.actor_name || one.actor)),
    h("td", { role: "cell" }, done(one.act)),
    h("td", { class: "figures", role: "cell" }, clean(one.call)),
    h("td", { "data-result": came, role: "cell" }, icon(came === "ok" ? "check" : "circle-alert"), result(came)),
    h("td", { role: "cell" }, facts.join(", ")),
  );
}

customElements.define("tk-audit", Audit);
