// @ts-check
// Name, PBXs, connection, and who I am.

import * as actions from "../actions.js";
import { attribute, clean, h, icon, iconRef, keyed, Part, say, setIcon, show, svg } from "../dom.js";
import { choose, language, LANGUAGES, t } from "../messages.js";
import { store } from "../store.js";

/** @import {State, Pbx} from "../types.js" */

const THEMES = /** @type {const} */ (["auto", "light", "dark"]);
const THEME_ICONS = { auto: "sun-moon", light: "sun", dark: "moon" };
const KEPT = "takeover.theme";

class Topbar extends Part {
  constructor() {
    super();
    this.pbxs = h("ul", { class: "pbxs", "aria-label": t("pbx.list") });
    this.lampIcon = icon("wifi");
    this.lampText = h("span", { class: "figures" });
    this.lamp = h("span", { class: "lamp", "data-testid": "lamp", role: "status" }, this.lampIcon, this.lampText);
    this.name = h("span", { class: "name" });
    this.who = h(
      "button",
      {
        class: "quiet who",
        type: "button",
        "data-testid": "password",
        on: { click: () => store.dispatch({ type: "dialog", dialog: { kind: "password" } }) },
      },
      icon("user"),
      this.name,
    );
    this.themeIcon = icon("sun-moon");
    this.theme = h("button", { class: "quiet", type: "button", on: { click: () => this.nextTheme() } }, this.themeIcon);
    const languages = h(
      "select",
      {
        class: "quiet",
        "aria-label": t("language"),
        on: { change: (/** @type {Event} */ event) => this.speak(event) },
      },
      ...Object.entries(LANGUAGES).map(([tag, label]) =>
        h("option", { value: tag, lang: tag, selected: tag === language(), title: label }, tag.toUpperCase()),
      ),
    );
    const mark = svg("svg", { class: "mark", "aria-hidden": "true" }, svg("use", { href: iconRef("mark") }));
    this.audit = opener("audit", "scroll-text");
    this.people = opener("people", "users");
    this.content = [
      h(
        "header",
        {},
        h("h1", {}, mark, "Takeover"),
        this.pbxs,
        h("span", { class: "spring" }),
        this.lamp,
        this.who,
        languages,
        this.people,
        this.audit,
        this.theme,
        h(
          "button",
          {
            class: "quiet",
            type: "button",
            title: t("keys.title"),
            "aria-label": t("keys.title"),
            on: { click: () => store.dispatch({ type: "dialog", dialog: { kind: "shortcuts" } }) },
          },
          icon("keyboard"),
        ),
        h(
          "button",
          {
            class: "quiet",
            type: "button",
            title: t("logout"),
            "aria-label": t("logout"),
            "data-testid": "logout",
            on: { click: actions.logout },
          },
          icon("log-out"),
        ),
      ),
    ];
    this.showTheme();
  }

  /** @param {State} state */
  update(state) {
    const { up, ever, rtt } = state.link;
    attribute(this.lamp, "data-up", String(up));
    setIcon(this.lampIcon, up ? "wifi" : "wifi-off");
    const text = up
      ? rtt === null
        ? t("link.up")
        : t("link.rtt", { ms: rtt })
      : t(ever ? "link.down" : "link.opening");
    say(this.lampText, text);
    attribute(this.lamp, "title", up ? t("link.title") : text);
    const name = clean(state.me?.name);
    say(this.name, name);
    attribute(this.who, "title", t("password.title"));
    attribute(this.who, "aria-label", name ? `${name}: ${t("password.title")}` : t("password.title"));
    show(this.audit, state.site.audit);
    show(this.people, state.site.administer);
    keyed(
      this.pbxs,
      state.pbxs,
      (pbx) => pbx.name,
      () => h("li", {}, icon("server"), h("span")),
      (row, pbx) => this.pbx(row, pbx),
    );
  }

  /** @param {HTMLElement} row @param {Pbx} pbx */
  pbx(row, pbx) {
    attribute(row, "data-up", String(pbx.up));
    attribute(row, "title", clean(pbx.up ? pbx.version : pbx.why));
    say(
      /** @type {Element} */ (row.lastElementChild),
      pbx.up ? clean(pbx.name) : t("pbx.away-short", { pbx: clean(pbx.name) }),
    );
  }

  nextTheme() {
    const at = THEMES.indexOf(this.chosen());
    const next = THEMES[(at + 1) % THEMES.length] ?? "auto";
    localStorage.setItem(KEPT, next);
    this.showTheme();
  }

  /** @returns {typeof THEMES[number]} */
  chosen() {
    const kept = localStorage.getItem(KEPT);
    return THEMES.find((one) => one === kept) ?? "auto";
  }

  showTheme() {
    const theme = this.chosen();
    attribute(document.documentElement, "data-theme", theme === "auto" ? null : theme);
    setIcon(this.themeIcon, THEME_ICONS[theme]);
    const label = t(`theme.${theme}`);
    attribute(this.theme, "aria-label", label);
    attribute(this.theme, "title", label);
  }

  /** @param {Event} event */
  speak(event) {
    choose(/** @type {keyof typeof LANGUAGES} */ (/** @type {HTMLSelectElement} */ (event.target).value));
    location.reload();
  }
}

/** A button for a dialog that not everybody has. @param {"audit"|"people"} kind @param {string} image */
const opener = (kind, image) =>
  h(
    "button",
    {
      class: "quiet",
      type: "button",
      title: t(`${kind}.title`),
      "aria-label": t(`${kind}.title`),
      "data-testid": kind,
      on: { click: () => store.dispatch({ type: "dialog", dialog: { kind } }) },
    },
    icon(image),
  );

customElements.define("tk-topbar", Topbar);
