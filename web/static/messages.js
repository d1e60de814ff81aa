// @ts-check
// Every text the panel shows, from messages/{language}.json. The chosen language is kept in the browser.

export const LANGUAGES = { en: "English", de: "Deutsch" };
const KEPT = "takeover.language";

/** @type {Record<string, string>} */
let texts = {};
/** @type {Intl.PluralRules} */
let plural = new Intl.PluralRules("en");

/** The language to use: chosen before, else the browser's first one that we have. @returns {keyof typeof LANGUAGES} */
export function language() {
  const wished = [localStorage.getItem(KEPT) ?? "", ...navigator.languages].map((tag) => tag.slice(0, 2).toLowerCase());
  for (const tag of wished) if (tag in LANGUAGES) return /** @type {keyof typeof LANGUAGES} */ (tag);
  return "en";
}

/** @param {keyof typeof LANGUAGES} tag */
export function choose(tag) {
  localStorage.setItem(KEPT, tag);
}

/** Loads the texts; call once before the first element is made. */
export async function load() {
  const tag = language();
  const answer = await fetch(`/static/messages/${tag}.json`);
  if (!answer.ok) throw new Error(`messages/${tag}.json: ${answer.status}`);
  texts = await answer.json();
  plural = new Intl.PluralRules(tag);
  document.documentElement.lang = tag;
}

/** Whether there is such a text. @param {string} key */
export const has = (key) => key in texts;

/**
 * The text for `key`, with `{name}` replaced. With a number `n`, `key.one` / `key.other` is taken by the language's rule.
 * @param {string} key
 * @param {Record<string, string|number>} [facts]
 */
export function t(key, facts = {}) {
  const counted = typeof facts.n === "number" ? `${key}.${plural.select(facts.n)}` : key;
  const text = texts[counted] ?? texts[key] ?? texts[`${key}.other`] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(facts[name] ?? whole));
}
