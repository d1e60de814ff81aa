import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const STATIC = new URL("../../../../web/static/", import.meta.url);
/** @param {string} tag @returns {Record<string, string>} */
const texts = (tag) => JSON.parse(readFileSync(new URL(`messages/${tag}.json`, STATIC), "utf8"));
const [en, de] = [texts("en"), texts("de")];
const sources = [
  ...readdirSync(STATIC),
  ...readdirSync(new URL("components/", STATIC)).map((name) => `components/${name}`),
]
  .filter((name) => name.endsWith(".js") || name.endsWith(".html"))
  .map((name) => readFileSync(new URL(name, STATIC), "utf8"))
  .join("\n");

test("both languages have the same texts, with the same facts in them", () => {
  assert.deepEqual(Object.keys(de), Object.keys(en));
  const facts = (/** @type {string|undefined} */ text) => [...(text ?? "").matchAll(/\{\w+\}/g)].map(String).sort();
  for (const [key, text] of Object.entries(en)) assert.deepEqual(facts(de[key]), facts(text), key);
});

test("every text that is asked for by name exists", () => {
  const asked = [
    ...sources.matchAll(/\bt\("([^"]+)"/g),
    ...sources.matchAll(/data-text="([^"]+)"/g),
    ...sources.matchAll(/key: "(why\.[^"]+)"/g),
  ].map((found) => found[1] ?? "");
  assert.ok(asked.length > 80);
  const missing = asked.filter((key) => !(key in en) && !(`${key}.other` in en));
  assert.deepEqual(missing, []);
});

test("every text is used", () => {
  const built = [...sources.matchAll(/`([a-z-]+\.)\$\{/g)].map((found) => found[1] ?? "");
  const stale = Object.keys(en).filter((key) => {
    const plain = key.replace(/\.(one|other)$/, "");
    return (
      !sources.includes(`"${plain}"`) && !sources.includes(`"${key}"`) && !built.some((start) => key.startsWith(start))
    );
  });
  assert.deepEqual(stale, []);
});
