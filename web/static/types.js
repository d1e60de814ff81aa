// @ts-check
// The words of the API as types. Nothing here runs.

/** @typedef {"monitor"|"whisper"|"barge"|"takeover"} Mode */
/** @typedef {"connecting"|"active"|"switching"|"releasing"|"ended"} Phase */
/** @typedef {"caller"|"ai"|"agent"} Role */
/** @typedef {"normal"|"urgent"|"emergency"} Priority */

/**
 * @typedef {object} Engagement
 * @property {string} id
 * @property {string} call
 * @property {string} agent account id
 * @property {string} agent_name
 * @property {Mode} mode
 * @property {Phase} phase
 * @property {string} since RFC 3339
 * @property {string} leg
 * @property {boolean} [hold]
 * @property {string|null} [ended] why it ended
 */

/** @typedef {{mode: Mode, possible: boolean, how: "live"|"cold"|null, why: string}} ModeChoice */
/** @typedef {{reason: string, priority: Priority, by: string, since: string, raised_at?: string, deadline_at: string|null, step?: number, supervisors?: boolean}} Escalation asked for `since`; as urgent as it is since `raised_at`, after so many steps of the ladder; whether supervisors are called */

/**
 * @typedef {object} Call
 * @property {string} id
 * @property {string} pbx
 * @property {string} tenant
 * @property {string} queue
 * @property {{number: string, name: string}} caller
 * @property {{name: string, ref: string}} ai
 * @property {string} started_at
 * @property {string|null} answered_at
 * @property {string} topology
 * @property {ModeChoice[]} modes
 * @property {Engagement[]} engagements
 * @property {Escalation|null} escalation
 * @property {string} [recording]
 * @property {string[]} [notes]
 * @property {Partial<Record<Role, boolean>>} [talking]
 */

/** @typedef {{turn: string, speaker: Role, text: string, at: string, final: boolean}} Turn */
/** @typedef {{name: string, up: boolean, why: string, version: string}} Pbx */
/** @typedef {{id: string, name: string, role: string}} Me */
/** @typedef {{heard_ms: number|null, gap_ms: number|null}} Measured */

/**
 * @typedef {{kind: "call", call: Call}
 *   | {kind: "call-gone", id: string, why: string}
 *   | {kind: "turn", call: string, turn: Turn}
 *   | {kind: "pbx", pbx: Pbx}
 *   | {kind: "talking", call: string, role: Role, on: boolean}
 *   | {kind: "engagement", engagement: Engagement}
 *   | {kind: "measured", call: string, facts: Measured}
 *   | {kind: "quality", leg: string, facts: Record<string, number>}
 *   | {kind: "leg", leg: string, up: boolean, why: string}} Change
 */

/** @typedef {"insecure"|"denied"|"missing"|"busy"} MicFault why the browser gives no microphone */

/**
 * What the agent's own line is doing.
 * @typedef {object} Line
 * @property {"off"|"testing"|"opening"|"up"|"lost"} state
 * @property {string|null} id the server's leg id
 * @property {boolean} heard the server hears our packets
 * @property {"none"|"ok"|MicFault|"gone"} mic
 * @property {string} micLabel
 * @property {string} device chosen input device, empty for the default
 * @property {{id: string, label: string}[]} devices
 * @property {string} speaker chosen output device, empty for the default
 * @property {{id: string, label: string}[]} speakers none where the browser offers no choice
 * @property {boolean} muted by the agent's own wish
 * @property {boolean} suppression
 * @property {""|"udp"|"refused"} fault
 * @property {string} why
 * @property {{rtt: number|null, jitter: number|null, loss: number|null, received?: number, sent?: number, lost?: number, relayed?: boolean}} quality ms, ms, percent since the last look, packets since the start, whether through TURN; as the browser sees it
 * @property {{in: boolean, out: boolean}} flow packets come and go
 * @property {Record<string, number>|null} server the same leg as the server sees it
 */

/** @typedef {{kind: "engage"|"change"|"release"|"hold"|"hangup"|"duty"|"ask"|"withdraw"|"transfer", call: string, mode?: Mode}} Pending */
/** @typedef {{id: number, tone: "info"|"good"|"error", text: string, sticky: boolean}} Notice */
/** @typedef {{call: string, escalation: Escalation, agent: string, at: number}} Answered an escalation that somebody took, and when, ms */
/** @typedef {{engagement: string, call: string, caller: string, ai: string, mode: Mode, reason: string}} After */
/** @typedef {{engagement: string, mode: Mode, at: number}} Stint what I am to a caller, and since when by this browser's clock, ms */
/** @typedef {{agent: string, name: string}} Voice an account's id and name */

/**
 * @typedef {{kind: "end-call", call: string}
 *   | {kind: "shortcuts"}
 *   | {kind: "move-line"}
 *   | {kind: "check"}
 *   | {kind: "audit"}
 *   | {kind: "people"}
 *   | {kind: "password"}
 *   | {kind: "help", call: string}
 *   | {kind: "keypad", call: string}
 *   | {kind: "transfer", call: string}
 *   | {kind: "override", call: string, mode: Mode, speaker: string}} Dialog
 */

/** @typedef {{destinations: Record<string, string[]>, wrapUp: boolean, audit: boolean, administer: boolean, deaf: readonly string[]}} Site what this server offers me: transfer keys by PBX, whether it takes outcomes, shows the audit and lets me manage people, and which AIs hear nothing while a person speaks */

/**
 * @typedef {object} State
 * @property {Me|null} me
 * @property {number} rev
 * @property {ReadonlyMap<string, Call>} calls
 * @property {ReadonlyMap<string, readonly Turn[]>} turns
 * @property {readonly Pbx[]} pbxs
 * @property {string|null} selected
 * @property {{call: Call, why: string, at: number}|null} gone the selected call, after its end
 * @property {{up: boolean, ever: boolean, rtt: number|null, retryAt: number|null}} link
 * @property {Line} line
 * @property {Pending|null} pending
 * @property {Stint|null} stint in the mode that I am in now: an engagement's own time goes on through all of its modes
 * @property {ReadonlyMap<string, Voice>} voices by call, the person who speaks in it or was the last to: a turn does not say whose it is
 * @property {After|null} after how my last engagement ended, while that is news
 * @property {ReadonlyMap<string, Answered>} answered by call, newest last
 * @property {{call: string, caller: string}|null} wrapUp a call that I spoke in and have not said the outcome of
 * @property {Site} site
 * @property {ReadonlyMap<string, Measured>} measured
 * @property {readonly Notice[]} notices
 * @property {Dialog|null} dialog
 * @property {string} filter
 * @property {{queue: string, ai: string, who: ""|"asks"|"ai"|"person"}} only calls of this queue, this AI, in this situation; empty for all
 */

export {};
