// @ts-check
// The login page: one form, one request.

import { api, Problem } from "./api.js";
import { load, t } from "./messages.js";

const words = load();

/** @template {HTMLElement} T @param {string} id @returns {T} */
const get = (id) => /** @type {T} */ (document.getElementById(id));
/** @type {HTMLFormElement} */
const form = get("login");
/** @type {HTMLInputElement} */
const username = get("username");
/** @type {HTMLInputElement} */
const password = get("password");
const error = get("error");
const submit = /** @type {HTMLButtonElement} */ (form.querySelector("button"));

// Before the words are there: who types faster than they load would be sent away by the form itself.
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  await words;
  submit.disabled = true;
  error.hidden = true;
  try {
    await api.login(username.value, password.value);
    location.assign("/");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    error.textContent = problem.code === 401 ? t("login.wrong") : problem.sentence;
    error.hidden = false;
    password.select();
    password.focus();
  } finally {
    submit.disabled = false;
  }
});

await words;
for (const element of document.querySelectorAll("[data-text]"))
  element.textContent = t(/** @type {HTMLElement} */ (element).dataset.text ?? "");
if (sessionStorage.getItem("takeover.ended") !== null) {
  sessionStorage.removeItem("takeover.ended");
  error.textContent = t("login.ended");
  error.hidden = false;
}
