// @ts-check
// Name, PBXs, connection, and who I am.

import * as actions from "../actions.js";
import { attribute, clean, h, icon, iconRef, keyed, Part, say, setIcon, show, svg } from "../dom.js";
import { choose, language, LANGUAGES, t } from "../messages.js";
import { store } from "../store.js";
import { picture } from "./buttons.js";

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
    this.lamp = h("span", { class: "lamp", "data-testid": "lamp", role: "img" }, this.lampIcon, this.lampText);
    this.name = h("span", { class: "name" });
    this.who = opener("password", "user", "quiet who");
    this.who.append(this.name);
    this.people = opener("people", "users");
    this.audit = opener("audit", "scroll-text");
    this.theme = picture("sun-moon", "", () => this.nextTheme(), { class: "quiet" });
    const mark = svg("svg", { class: "mark", "aria-hidden": "true" }, svg("use", { href: iconRef("mark") }));
    this.content = [
      h(
        "header",
        {},
        h("h1", {}, mark, "Takeover"),
        this.pbxs,
        h("span", { class: "spring" }),
        this.lamp,
        this.who,
        languages((event) => this.speak(event)),
        this.people,
        this.audit,
        this.theme,
        picture("keyboard", t("keys.title"), open("shortcuts"), { class: "quiet" }),
        picture("log-out", t("logout"), actions.logout, { class: "quiet", "data-testid": "logout" }),
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
    // Not a live region: its figure changes with every heartbeat, and the banner says when the connection is lost.
    attribute(this.lamp, "aria-label", up ? `${t("link.title")}: ${text}` : text);
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
    setIcon(/** @type {Element} */ (this.theme.firstElementChild), THEME_ICONS[theme]);
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

/** @param {"audit"|"people"|"password"|"shortcuts"} kind */
const open = (kind) => () => store.dispatch({ type: "dialog", dialog: { kind } });

/** A button for a dialog that not everybody has. @param {"audit"|"people"|"password"} kind @param {string} image @param {string} [look] */
const opener = (kind, image, look = "quiet") =>
  picture(image, t(`${kind}.title`), open(kind), { class: look, "data-testid": kind });

/** @param {(event: Event) => void} change */
const languages = (change) =>
  h(
    "select",
    { class: "quiet", "aria-label": t("language"), on: { change } },
    ...Object.entries(LANGUAGES).map(([tag, label]) =>
      h("option", { value: tag, lang: tag, selected: tag === language(), title: label }, tag.toUpperCase()),
    ),
  );

customElements.define("tk-topbar", Topbar);
