// @ts-check
// The login page: one form, one request.

import { api, Problem } from "./api.js";
import { load, t } from "./messages.js";

await load();
for (const element of document.querySelectorAll("[data-text]"))
  element.textContent = t(/** @type {HTMLElement} */ (element).dataset.text ?? "");

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

form.addEventListener("submit", async (event) => {
  event.preventDefault();
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
