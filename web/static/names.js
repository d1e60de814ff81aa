// @ts-check
// What people are called on screen, and what they do in a call: oneself is "you".

import { holdsTheFloor, mine, voice } from "./derive.js";
import { clean } from "./dom.js";
import { t } from "./messages.js";

/** @import {Call, Engagement, State} from "./types.js" */

/** Whose the agent's words in a call are. @param {State} state @param {Call|null} call */
export function agentName(state, call) {
  const one = voice(state, call);
  if (!one) return t("role.agent");
  return one.own ? t("you") : clean(one.name);
}

/** `Ben Ortiz speaking`, `You are speaking`. @param {State} state @param {Engagement} one */
export function partIn(state, one) {
  const part = one.hold && holdsTheFloor(one.mode) ? "hold" : one.mode;
  if (one.id === mine(state)?.id) return t(`own.${part}`);
  return `${clean(one.agent_name)} ${t(`situation.${part}`)}`;
}
