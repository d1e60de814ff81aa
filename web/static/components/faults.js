// @ts-check
// What is broken now, what it means for the caller, and what to do.

import { goOnDuty } from "../duty.js";
import { testMicrophone } from "../trial.js";
import { mine } from "../derive.js";
import { attribute, clean, h, icon, keyed, Part, say, show } from "../dom.js";
import { t } from "../messages.js";

/** @import {State} from "../types.js" */
/** @typedef {{id: string, kind: string, text: string, act?: {label: string, run: () => unknown}}} Fault */

const MICROPHONE = {
  ...{ denied: "fault.mic-denied", missing: "fault.mic-missing", gone: "fault.mic-gone" },
  ...{ insecure: "leg.insecure", busy: "leg.busy" },
};

/** @param {State} state @returns {Fault[]} */
function faults(state) {
  /** @type {Fault[]} */
  const found = [];
  const { line } = state; // the banner itself tells of a lost server
  for (const pbx of state.pbxs)
    if (!pbx.up)
      found.push({
        id: `pbx ${pbx.name}`,
        kind: "pbx",
        text: t("fault.pbx", { pbx: clean(pbx.name), why: clean(pbx.why) }),
      });
  const again = { label: t("fault.retry"), run: goOnDuty };
  if (line.fault === "udp") found.push({ id: "udp", kind: "udp", text: t("fault.udp"), act: again });
  else if (line.state === "lost") found.push({ id: "line", kind: "line", text: t("fault.line"), act: again });
  const one = mine(state);
  if (line.state === "up" && one?.phase === "active") {
    if (!line.flow.out && line.mic === "ok") found.push({ id: "flow out", kind: "flow", text: t("fault.not-sending") });
    else if (!line.flow.in && !one.hold) found.push({ id: "flow in", kind: "flow", text: t("fault.not-receiving") });
  }
  if (line.mic !== "none" && line.mic !== "ok") {
    const act = { label: t("fault.retry"), run: testMicrophone };
    found.push({ id: `microphone ${line.mic}`, kind: "microphone", text: t(MICROPHONE[line.mic]), act });
  }
  return found;
}

class Faults extends Part {
  constructor() {
    super();
    this.list = h("div", { role: "alert" });
    this.content = [this.list];
  }

  /** @param {State} state */
  update(state) {
    keyed(
      this.list,
      faults(state),
      (fault) => fault.id,
      (fault) =>
        h(
          "div",
          { class: "fault", "data-testid": "fault", "data-fault": fault.kind },
          icon("unplug"),
          h("span"),
          fault.act
            ? h("button", { type: "button", class: "on-colour", on: { click: fault.act.run } }, fault.act.label)
            : null,
        ),
      (row, fault) => {
        say(/** @type {Element} */ (row.querySelector("span")), fault.text);
        attribute(row, "data-fault", fault.kind);
        const button = row.querySelector("button");
        if (button) show(button, state.line.state !== "opening");
      },
    );
  }
}

customElements.define("tk-faults", Faults);
