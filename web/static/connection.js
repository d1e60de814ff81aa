// @ts-check
// The one events connection, joined to the store.

import { api } from "./api.js";
import { t } from "./messages.js";
import { notice, refused, sessionOver } from "./notices.js";
import { Events } from "./socket.js";
import { store } from "./store.js";

export const events = new Events({
  leg: () => store.state.line.id,
  rev: () => store.state.rev,
  link: linkChanged,
  rtt: (ms) => store.dispatch({ type: "rtt", ms }),
  slept: (ms) => notice("error", t("watch.slept", { n: Math.round(ms / 1000) }), true),
  refused: sessionOver,
  message: (message) => {
    if (message.type === "snapshot" || message.type === "delta") store.dispatch(message);
  },
});

/** @param {boolean} up @param {number|null} retryAt */
function linkChanged(up, retryAt) {
  const was = store.state.link;
  store.dispatch({ type: "link", up, retryAt });
  if (up && was.ever && !was.up) notice("good", t("link.back"));
  // A handshake refused for lack of a session looks like any other loss; ask plainly.
  if (!up) api.session().catch((error) => refused(error, "not-logged-in") && sessionOver());
}
