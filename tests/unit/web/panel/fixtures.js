// Made-up calls and engagements for the panel's unit tests.

import { reduce, START } from "../../../../web/static/store.js";

/** @import {Action} from "../../../../web/static/store.js" */
/** @import {Call, Engagement, State} from "../../../../web/static/types.js" */

export const ME = { id: "anna", name: "Anna Berg", role: "agent" };

/** @param {Partial<Engagement>} facts @returns {Engagement} */
export const engagement = (facts = {}) => ({
  id: "e1",
  call: "alpha~1",
  agent: "anna",
  agent_name: "Anna Berg",
  mode: "takeover",
  phase: "active",
  since: "2026-11-22T10:00:00.000Z",
  leg: "leg-1",
  ...facts,
});

/** @param {Partial<Call>} facts @returns {Call} */
export const call = (facts = {}) => ({
  id: "alpha~1",
  pbx: "alpha",
  tenant: "default",
  queue: "billing",
  caller: { number: "+49 30 5550142", name: "Maria Keller" },
  ai: { name: "Aurora", ref: "aurora-1" },
  started_at: "2026-11-22T10:00:00.000Z",
  answered_at: "2026-11-22T10:00:01.000Z",
  topology: "dialled",
  modes: ["monitor", "whisper", "barge", "takeover"].map((mode) => ({
    mode: /** @type {any} */ (mode),
    possible: true,
    how: "live",
    why: "",
  })),
  engagements: [],
  escalation: null,
  ...facts,
});

/** The state of somebody on duty with these calls, after more actions. @param {Call[]} calls @param {...Action} actions @returns {State} */
export function state(calls, ...actions) {
  /** @type {Action[]} */
  const first = [
    { type: "link", up: true },
    { type: "line", facts: { state: "up", id: "leg-1", heard: true, mic: "ok" } },
    { type: "snapshot", rev: 1, me: ME, calls, pbxs: [{ name: "alpha", up: true, why: "", version: "" }] },
  ];
  return [...first, ...actions].reduce(reduce, START);
}
