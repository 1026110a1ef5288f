"use strict";
// Addresses of what is shown: `#weights` is a section, `#outputs/left` a probe in it, `#weights/NAME` a row of its table.
// What is chosen or opened goes into the address bar, so that the address can be shared and opens there.
const links = (() => {
  const places = new Map(); // section -> functions that show what they have of a name, and return where it is

  const section = (element) => element.closest("section").id;

  function register(element, show) {
    const id = section(element);
    places.set(id, [...(places.get(id) || []), show]);
  }

  function note(element, name) {
    const address = [section(element), ...(name ? [name] : [])].map(encodeURIComponent).join("/");
    history.replaceState(null, "", `#${address}`);
  }

  function decoded() {
    try {
      return decodeURIComponent(location.hash.slice(1));
    } catch {
      return ""; // cut somewhere on its way
    }
  }

  function go() {
    const [id, ...rest] = decoded().split("/");
    const name = rest.join("/");
    if (!name) return;
    for (const show of places.get(id) || []) {
      const element = show(name);
      if (element) return element.scrollIntoView();
    }
    document.getElementById(id)?.scrollIntoView();
  }

  addEventListener("hashchange", go);
  return { register, note, go };
})();
