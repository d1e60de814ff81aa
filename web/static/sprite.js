// @ts-check
// The icons, brought into the page itself. A reference into another file is asked for anew with every icon that
// changes: without the network the banner would lose its icon in the moment that it says so.

/** Returns when they are there. Without them the panel works too: every icon has a word beside it. @returns {Promise<void>} */
export function loadIcons() {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest(); // the one way to a parsed file for which no text becomes markup in this page
    request.responseType = "document";
    request.onload = () => {
      const sprite = request.responseXML?.documentElement;
      if (request.status === 200 && sprite) document.body.append(adopted(sprite));
      resolve();
    };
    request.onerror = () => resolve();
    request.open("GET", "/static/icons.svg");
    request.send();
  });
}

/** @param {Element} sprite @returns {Element} */
function adopted(sprite) {
  const ours = document.importNode(sprite, true);
  ours.setAttribute("hidden", "");
  for (const symbol of ours.children) symbol.id = `icon-${symbol.id}`; // clear of the page's own ids
  return ours;
}
