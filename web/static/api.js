// @ts-check
// fetch, with problem+json turned into one kind of error.

import { learn } from "./clock.js";
import { has, t } from "./messages.js";

/** Longer than the slowest answer the server gives a PBX time for. */
const PATIENCE_MS = 12_000;

/** An answer that is not a success, or none at all (`slug` `network`). */
export class Problem extends Error {
  /** @param {number} code @param {string} slug @param {Record<string, any>} facts */
  constructor(code, slug, facts) {
    super(String(facts.detail ?? facts.title ?? slug));
    this.code = code;
    this.slug = slug;
    this.facts = facts;
  }

  /** What a person reads: our sentence for the slug in their language, else the server's. */
  get sentence() {
    const key = `problem.${this.slug}`;
    if (this.slug === "leg-not-ready" && has(`leg-not-ready.${this.facts.why}`))
      return t(`leg-not-ready.${this.facts.why}`);
    if (!has(key)) return this.message || t("problem.unknown", { code: this.code });
    return t(key, { ...this.facts, detail: this.message, code: this.code });
  }
}

/**
 * @param {"GET"|"POST"|"PUT"|"PATCH"|"DELETE"} method
 * @param {string} path below /api/v1
 * @param {unknown} [body]
 * @param {{keepalive?: boolean}} [options]
 * @returns {Promise<any>} the JSON of the answer; null when it has none
 */
export async function call(method, path, body, options = {}) {
  /** @type {Response} */
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
      credentials: "same-origin",
      signal: AbortSignal.timeout(PATIENCE_MS),
      ...options,
    });
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw new Problem(0, late ? "timeout" : "network", {});
  }
  learn(answer.headers.get("Date"));
  const text = await answer.text();
  /** @type {any} */
  let json = null;
  try {
    json = text ? JSON.parse(text) : null;
  } catch {
    // Not JSON: a proxy's error page. The status alone has to do.
  }
  if (answer.ok) return json;
  const slug =
    String(json?.type ?? "")
      .split(":")
      .pop() || (answer.status >= 500 ? "server" : "unknown");
  throw new Problem(answer.status, slug, json ?? {});
}

const part = encodeURIComponent;

export const api = {
  /** @param {string} username @param {string} password */
  login: (username, password) => call("POST", "/session", { username, password }),
  session: () => call("GET", "/session"),
  logout: () => call("DELETE", "/session"),
  /** @param {string} old @param {string} fresh */
  changePassword: (old, fresh) => call("PUT", "/session/password", { old_password: old, new_password: fresh }),
  /** @param {string} id */
  transcript: (id) => call("GET", `/calls/${part(id)}/transcript`),
  /** @param {string} sdp @param {boolean | string} replace this session's leg, if there is one; its own id: the call goes on over the new line */
  openLeg: (sdp, replace) => call("POST", "/legs", { sdp, type: "offer", ...(replace ? { replace } : {}) }),
  /** @param {boolean} on */
  setDuty: (on) => call("PUT", "/session/duty", { on, queues: [] }),
  /** @returns {Promise<{legs: {leg: string}[]}>} */
  legs: () => call("GET", "/legs"),
  /** @param {string} leg */
  closeLeg: (leg) => call("DELETE", `/legs/${part(leg)}`, undefined, { keepalive: true }),
  /** @param {string} leg @param {{muted?: boolean, suppression?: boolean}} facts */
  setLeg: (leg, facts) => call("PATCH", `/legs/${part(leg)}`, facts),
  /** @param {string} id @param {string} mode @param {string} leg @param {string} [reason] */
  engage: (id, mode, leg, reason) =>
    call("POST", `/calls/${part(id)}/engagements`, { mode, leg, ...(reason ? { override: { reason } } : {}) }),
  /** @param {string} engagement @param {{mode?: string, hold?: boolean}} facts */
  change: (engagement, facts) => call("PATCH", `/engagements/${part(engagement)}`, facts),
  /** @param {string} engagement @param {string} note */
  release: (engagement, note) => call("POST", `/engagements/${part(engagement)}/release`, note ? { note } : {}),
  /** @param {string} id @param {string} reason @param {string} priority */
  escalate: (id, reason, priority) => call("POST", `/calls/${part(id)}/escalation`, { reason, priority }),
  /** @param {string} id */
  withdraw: (id) => call("DELETE", `/calls/${part(id)}/escalation`),
  /** @param {string} id @param {string} text */
  coach: (id, text) => call("POST", `/calls/${part(id)}/coach`, { text }),
  /** @param {string} id @param {string} digits */
  dtmf: (id, digits) => call("POST", `/calls/${part(id)}/dtmf`, { digits }),
  /** @param {string} id @param {string} to a key of the configuration */
  transfer: (id, to) => call("POST", `/calls/${part(id)}/transfer`, { to }),
  /** @param {string} id @param {string} outcome @param {string} note */
  wrapUp: (id, outcome, note) => call("POST", `/calls/${part(id)}/wrap-up`, { outcome, note }),
  /** @param {URLSearchParams} wanted @param {string|null} cursor */
  audit: (wanted, cursor) => {
    const query = new URLSearchParams(wanted);
    if (cursor) query.set("cursor", cursor);
    return call("GET", `/audit?${query}`);
  },
  users: () => call("GET", "/users"),
  /** @param {Record<string, unknown>} user */
  addUser: (user) => call("POST", "/users", user),
  /** @param {string} username @param {Record<string, unknown>} rights */
  changeUser: (username, rights) => call("PATCH", `/users/${part(username)}`, rights),
  /** @param {string} username @param {string} password */
  setPassword: (username, password) => call("PUT", `/users/${part(username)}/password`, { password }),
  /** @param {string} username */
  removeUser: (username) => call("DELETE", `/users/${part(username)}`),
  tokens: () => call("GET", "/tokens"),
  /** @param {Record<string, unknown>} token */
  addToken: (token) => call("POST", "/tokens", token),
  /** @param {string} name */
  revokeToken: (name) => call("DELETE", `/tokens/${part(name)}`),
  /** @param {string} id */
  hangup: (id) => call("POST", `/calls/${part(id)}/hangup`, {}),
};

/** Where the audit is to be had as a file. @param {URLSearchParams} wanted @param {string} format */
export function auditFile(wanted, format) {
  const query = new URLSearchParams(wanted);
  query.set("format", format);
  return `/api/v1/audit/export?${query}`;
}
