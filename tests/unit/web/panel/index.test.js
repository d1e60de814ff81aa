import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const STATIC = new URL("../../../../web/static/", import.meta.url);
/** @param {string} name */
const text = (name) => readFileSync(new URL(name, STATIC), "utf8");

/** Modules that this one needs before it runs, and those it asks for while it starts. @param {string} name @returns {string[]} */
function needed(name) {
  const source = text(name);
  const found = [...source.matchAll(/^(?:import|export) (?!\{[^}]*\} from "\.\/types)[^;]*?"(\.[^"]+)";/gms)];
  const asked = name === "app.js" ? [...source.matchAll(/import\("(\.[^"]+)"\)/g)] : [];
  return [...found, ...asked].map((one) => new URL(one[1] ?? "", new URL(name, STATIC)).href.slice(STATIC.href.length));
}

test("the page asks for all its modules at once, not one after the other", () => {
  const all = new Set(["app.js"]);
  for (const name of all) for (const other of needed(name)) all.add(other);
  assert.ok(all.size > 30);
  const asked = [...text("index.html").matchAll(/rel="modulepreload" href="\/static\/([^"]+)"/g)].map((one) => one[1]);
  all.delete("app.js"); // by its own element
  assert.deepEqual([...asked].sort(), [...all].sort());
});
