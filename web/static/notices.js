// @ts-check
// Short messages, and what an error says.

import { Problem } from "./api.js";
import { t } from "./messages.js";
import { LegError } from "./rtc.js";
import { store } from "./store.js";

/** @import {MicFault, Notice} from "./types.js" */

const NOTICE_MS = 6000;
/** Why something was refused has to be there when an agent who looked at the transcript looks up again. */
const ERROR_MS = 15_000;
let notices = 0;

/** Shows a short message. @param {Notice["tone"]} tone @param {string} text @param {boolean} [sticky] until dismissed @returns {number} its id */
export function notice(tone, text, sticky = false) {
  const id = ++notices;
  store.dispatch({ type: "notice", notice: { id, tone, text, sticky } });
  const after = tone === "error" ? ERROR_MS : NOTICE_MS;
  if (!sticky) setTimeout(() => store.dispatch({ type: "notice-over", id }), after);
  return id;
}

/** Tells what went wrong; a fault of the panel itself also reaches the console. @param {unknown} error */
export function failed(error) {
  if (error instanceof Problem) {
    if (error.slug === "not-logged-in") return sessionOver();
    return notice("error", error.sentence, error.slug === "network");
  }
  if (noMicrophone(error)) return; // a fault of the line, and said there, with what helps
  if (error instanceof LegError) return notice("error", t(`leg.${error.why}`), true);
  notice("error", t("problem.panel", { detail: String(error) }), true);
  throw error;
}

/** Why the browser gives no microphone, if that is what went wrong. @param {unknown} error @returns {MicFault|null} */
export function noMicrophone(error) {
  const why = error instanceof LegError ? error.why : "";
  return why === "insecure" || why === "denied" || why === "missing" || why === "busy" ? why : null;
}

export const toLogin = () => location.assign("/login");

/** The session is over though nobody logged out here: the login page says so to whom it was in the middle of something. */
export function sessionOver() {
  if (store.state.me) sessionStorage.setItem("takeover.ended", "");
  toLogin();
}

/** Whether an answer was a refusal of this kind. @param {unknown} error @param {...string} slugs @returns {error is Problem} */
export const refused = (error, ...slugs) => error instanceof Problem && slugs.includes(error.slug);
