// @ts-check
// The state of the panel and the only place that changes it. Everything else reads it or dispatches.

/** @import {State, Call, Change, Engagement, Turn, Line, Pending, Notice, Dialog, Me, Pbx, Site, Voice} from "./types.js" */
import { asks, holdsTheFloor, mine, selectedCall, speaker } from "./derive.js";

/**
 * @typedef {{type: "snapshot", rev: number, me: Me, calls: Call[], pbxs: Pbx[]}
 *   | {type: "delta", rev: number, changes: Change[]}
 *   | {type: "me", me: Me}
 *   | {type: "link", up: boolean, retryAt?: number|null}
 *   | {type: "rtt", ms: number}
 *   | {type: "select", call: string|null}
 *   | {type: "transcript", call: string, turns: Turn[]}
 *   | {type: "line", facts: Partial<Line>}
 *   | {type: "pending", pending: Pending|null}
 *   | {type: "engagement", engagement: Engagement}
 *   | {type: "after-over", engagement: string}
 *   | {type: "site", facts: Partial<Site>}
 *   | {type: "wrap-up-over"}
 *   | {type: "notice", notice: Notice}
 *   | {type: "notice-over", id: number}
 *   | {type: "dialog", dialog: Dialog|null}
 *   | {type: "only", facts: Partial<State["only"]>}
 *   | {type: "filter", text: string}} Action
 */

/** @type {State} */
export const START = {
  me: null,
  rev: 0,
  calls: new Map(),
  turns: new Map(),
  pbxs: [],
  selected: null,
  gone: null,
  link: { up: false, ever: false, rtt: null, retryAt: null },
  line: {
    state: "off",
    id: null,
    heard: false,
    mic: "none",
    micLabel: "",
    device: "",
    devices: [],
    speaker: "",
    speakers: [],
    muted: false,
    suppression: true,
    fault: "",
    why: "",
    quality: { rtt: null, jitter: null, loss: null },
    flow: { in: true, out: true },
    server: null,
  },
  pending: null,
  stint: null,
  voices: new Map(),
  after: null,
  answered: new Map(),
  wrapUp: null,
  site: { destinations: {}, wrapUp: true, audit: false, administer: false, deaf: [] },
  measured: new Map(),
  notices: [],
  dialog: null,
  filter: "",
  only: { queue: "", ai: "", who: "" },
};

/** What the state becomes. Pure. @param {State} state @param {Action} action @returns {State} */
export function reduce(state, action) {
  const next = stint(step(state, action));
  // Who has spoken in a call is asked for its outcome, once that part is over.
  const { after: over } = next;
  if (!over || over.engagement === state.after?.engagement || !holdsTheFloor(over.mode)) return next;
  return { ...next, wrapUp: { call: over.call, caller: over.caller } };
}

/** Notes since when I am in my mode; what was measured of another one is no news any more. @param {State} state @returns {State} */
function stint(state) {
  const one = mine(state);
  const { stint: known } = state;
  if (!one) return known ? { ...state, stint: null } : state;
  if (known?.engagement === one.id && known.mode === one.mode) return state;
  return {
    ...state,
    stint: { engagement: one.id, mode: one.mode, at: Date.now() },
    measured: without(state.measured, one.call),
  };
}

/** @param {State} state @param {Action} action @returns {State} */
function step(state, action) {
  switch (action.type) {
    case "snapshot":
      return snapshot(state, action);
    case "delta":
      return action.changes.reduce((now, one) => answer(now, change(now, one)), { ...state, rev: action.rev });
    case "me":
      return { ...state, me: action.me };
    case "link":
      return {
        ...state,
        link: {
          ...state.link,
          up: action.up,
          ever: state.link.ever || action.up,
          retryAt: action.retryAt ?? null,
          rtt: action.up ? state.link.rtt : null,
        },
      };
    case "rtt":
      return { ...state, link: { ...state.link, rtt: action.ms } };
    case "select": {
      const gone = state.gone?.call.id === action.call ? state.gone : null;
      return { ...state, selected: action.call, gone };
    }
    case "transcript": {
      const live = state.turns.get(action.call) ?? [];
      return { ...state, turns: with_(state.turns, action.call, live.reduce(turnInto, action.turns)) };
    }
    case "line":
      return { ...state, line: { ...state.line, ...action.facts } };
    case "pending":
      return { ...state, pending: action.pending };
    case "engagement":
      // An answer that overtook nothing: the events already told its end.
      return state.after?.engagement === action.engagement.id
        ? state
        : answer(state, engagement(state, action.engagement));
    case "after-over":
      return state.after?.engagement === action.engagement ? { ...state, after: null } : state;
    case "site":
      return { ...state, site: { ...state.site, ...action.facts } };
    case "wrap-up-over":
      return { ...state, wrapUp: null };
    case "notice": {
      const others = state.notices.filter((notice) => notice.text !== action.notice.text);
      return { ...state, notices: [...others, action.notice].slice(-4) };
    }
    case "notice-over":
      return { ...state, notices: state.notices.filter((notice) => notice.id !== action.id) };
    case "dialog":
      return { ...state, dialog: action.dialog };
    case "only":
      return { ...state, only: { ...state.only, ...action.facts } };
    case "filter":
      return { ...state, filter: action.text };
  }
}

/** @param {State} state @param {Extract<Action, {type: "snapshot"}>} seen @returns {State} */
function snapshot(state, seen) {
  const before = mine(state);
  const calls = new Map(seen.calls.map((call) => [call.id, call]));
  const voices = seen.calls.reduce(heard, new Map([...state.voices].filter(([id]) => calls.has(id))));
  let next = { ...state, me: seen.me, rev: seen.rev, calls, voices, pbxs: seen.pbxs };
  // What ended while we could not see it: say so, and do not claim to know why.
  const shown = selectedCall(state);
  if (shown && !calls.has(shown.id))
    next = { ...next, gone: state.gone ?? { call: shown, why: "unseen", at: Date.now() } };
  if (before && !mine(next))
    next = { ...next, after: after(state, before, calls.has(before.call) ? "unseen" : "call-ended-unseen") };
  const turns = new Map([...state.turns].filter(([id]) => calls.has(id) || id === next.selected));
  return { ...next, turns };
}

/** @param {State} state @param {Change} seen @returns {State} */
function change(state, seen) {
  switch (seen.kind) {
    case "call": {
      const before = mine(state);
      const old = state.calls.get(seen.call.id);
      const call = old?.talking && !seen.call.talking ? { ...seen.call, talking: old.talking } : seen.call;
      const next = { ...state, calls: with_(state.calls, call.id, call), voices: heard(state.voices, call) };
      // The engagement's own change tells the reason; until it comes, it is only known to be over.
      return before && before.call === call.id && !mine(next)
        ? { ...next, after: after(state, before, "unknown") }
        : next;
    }
    case "call-gone": {
      const call = state.calls.get(seen.id);
      if (!call) return state;
      const before = mine(state);
      const calls = new Map(state.calls);
      calls.delete(seen.id);
      const selected = state.selected === seen.id;
      const turns = new Map(state.turns);
      if (!selected) turns.delete(seen.id);
      return {
        ...state,
        calls,
        turns,
        voices: selected ? state.voices : without(state.voices, seen.id),
        gone: selected ? { call: { ...call, engagements: [] }, why: seen.why, at: Date.now() } : state.gone,
        after: before?.call === seen.id ? after(state, before, "caller-hangup") : state.after,
      };
    }
    case "turn":
      return { ...state, turns: with_(state.turns, seen.call, turnInto(state.turns.get(seen.call) ?? [], seen.turn)) };
    case "pbx": {
      const others = state.pbxs.filter((pbx) => pbx.name !== seen.pbx.name);
      return { ...state, pbxs: [...others, seen.pbx].sort((a, b) => a.name.localeCompare(b.name)) };
    }
    case "talking": {
      const call = state.calls.get(seen.call);
      if (!call) return state;
      return {
        ...state,
        calls: with_(state.calls, call.id, { ...call, talking: { ...call.talking, [seen.role]: seen.on } }),
      };
    }
    case "engagement":
      return engagement(state, seen.engagement);
    case "measured":
      return { ...state, measured: with_(state.measured, seen.call, seen.facts) };
    case "quality":
      return seen.leg === state.line.id ? { ...state, line: { ...state.line, server: seen.facts } } : state;
    case "leg":
      return seen.leg === state.line.id ? { ...state, line: { ...state.line, heard: seen.up, why: seen.why } } : state;
    default:
      return state; // a newer server's change that this panel does not show
  }
}

/** @param {State} state @param {Engagement} seen @returns {State} */
function engagement(state, seen) {
  const call = state.calls.get(seen.call);
  const before = mine(state);
  const over = seen.phase === "ended";
  let next = state;
  if (call) {
    const others = call.engagements.filter((one) => one.id !== seen.id);
    const now = { ...call, engagements: over ? others : [...others, seen] };
    next = { ...state, calls: with_(state.calls, call.id, now), voices: heard(state.voices, now) };
  }
  if (!over) {
    // A new engagement makes the old one's end no news any more.
    if (mine(next)?.id === seen.id && before?.id !== seen.id) next = { ...next, after: null };
    return next;
  }
  const reason = seen.ended ?? "released";
  if (before?.id === seen.id) return { ...next, after: after(state, before, reason) };
  if (state.after?.engagement === seen.id) return { ...next, after: { ...state.after, reason } };
  return next;
}

/**
 * Remembers who took a call that asked for a person: the request itself is gone once somebody speaks.
 * @param {State} before @param {State} state @returns {State}
 */
function answer(before, state) {
  if (before.calls === state.calls) return state;
  let { answered } = state;
  for (const [id, call] of before.calls) {
    const now = state.calls.get(id);
    if (now === call) continue;
    const taker = now && speaker(now);
    if (call.escalation && asks(call) && now && !asks(now) && taker && taker.id !== speaker(call)?.id)
      answered = with_(without(answered, id), id, {
        call: id,
        escalation: call.escalation,
        agent: taker.agent_name,
        at: Date.now(),
      });
    else if (answered.has(id) && (!taker || asks(now))) answered = without(answered, id);
  }
  return answered === state.answered ? state : { ...state, answered };
}

/** @param {ReadonlyMap<string, Voice>} voices @param {Call} call @returns {ReadonlyMap<string, Voice>} */
function heard(voices, call) {
  const one = speaker(call);
  if (!one || voices.get(call.id)?.agent === one.agent) return voices;
  return with_(voices, call.id, { agent: one.agent, name: one.agent_name });
}

/** @param {State} state @param {Engagement} ended @param {string} reason @returns {State["after"]} */
function after(state, ended, reason) {
  const call = state.calls.get(ended.call);
  return {
    engagement: ended.id,
    call: ended.call,
    caller: call ? call.caller.name || call.caller.number : "",
    ai: call?.ai.name ?? "",
    mode: ended.mode,
    reason,
  };
}

/** A turn added, or updated in place; a late partial never replaces the final text. @param {readonly Turn[]} turns @param {Turn} turn */
function turnInto(turns, turn) {
  const at = turns.findIndex((one) => one.turn === turn.turn);
  if (at < 0) return [...turns, turn].sort((a, b) => Date.parse(a.at) - Date.parse(b.at));
  if (turns[at]?.final && !turn.final) return [...turns];
  return turns.map((one, i) => (i === at ? turn : one));
}

/** @template V @param {ReadonlyMap<string, V>} map @param {string} key @param {V} value @returns {ReadonlyMap<string, V>} */
const with_ = (map, key, value) => new Map(map).set(key, value);

/** @template V @param {ReadonlyMap<string, V>} map @param {string} key @returns {ReadonlyMap<string, V>} */
const without = (map, key) => new Map([...map].filter(([one]) => one !== key));

class Store {
  /** @type {State} */
  state = START;
  /** @type {Set<(state: State) => void>} */
  #watchers = new Set();
  #told = true;

  /** @param {Action} action */
  dispatch(action) {
    const next = reduce(this.state, action);
    if (next === this.state) return;
    this.state = next;
    if (!this.#told) return;
    this.#told = false;
    queueMicrotask(() => {
      this.#told = true;
      for (const watcher of [...this.#watchers]) watcher(this.state);
    });
  }

  /** Calls `watcher` after changes, many at once. @param {(state: State) => void} watcher @returns {() => void} stops it */
  watch(watcher) {
    this.#watchers.add(watcher);
    return () => void this.#watchers.delete(watcher);
  }
}

export const store = new Store();
