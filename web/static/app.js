// @ts-check
// Starts the panel: texts first, then the elements, then the connection.

import { load, t } from "./messages.js";
import { asking, banner, holdsTheFloor, mine, name } from "./derive.js";
import { attribute } from "./dom.js";
import { loadIcons } from "./sprite.js";
import { store } from "./store.js";

await Promise.all([load(), loadIcons()]);
const [actions, keys, alerts] = await Promise.all([
  import("./actions.js"),
  import("./keys.js"),
  import("./alerts.js"),
  import("./components/topbar.js"),
  import("./components/banner.js"),
  import("./components/faults.js"),
  import("./components/emergencies.js"),
  import("./components/calls.js"),
  import("./components/call.js"),
  import("./components/line.js"),
  import("./components/toasts.js"),
  import("./components/dialogs.js"),
]);

// The state is in the tab's title too: it is what an agent sees of a hidden tab.
store.watch((state) => {
  const one = mine(state);
  const call = one && state.calls.get(one.call);
  const words = t(`title.${banner(state)}`, { caller: call ? name(call) : "" });
  const asked = asking(state).length;
  const alarm = asked ? t("title.asking", { n: asked }) : "";
  const title = [alarm, words, "Takeover"].filter(Boolean).join(" · ");
  if (document.title !== title) document.title = title; // it is written anew, and shown anew, whatever it was
  attribute(document.body, "data-view", state.selected ? "call" : "list");
});

// Leaving the page while the caller listens is asked once; the PBX gives the call back either way.
addEventListener("beforeunload", (event) => {
  if (holdsTheFloor(mine(store.state)?.mode)) event.preventDefault();
});

keys.listen();
alerts.watch();
await actions.start();
document.body.dataset.ready = "true";
