"use strict";
// Light or dark: as the system says, until the button is used. Listeners are told, so that plots follow.
const theme = (() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];
  const probe = document.body.appendChild(document.createElement("i"));
  probe.hidden = true;

  const tell = () => listeners.forEach((listener) => listener());
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";

  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  dark.addEventListener("change", tell);

  return {
    listen: (listener) => listeners.push(listener),
    // The colour that `var(--name)` stands for now, as plotly.js understands it.
    colour(name) {
      probe.style.color = "";
      probe.style.color = name;
      return getComputedStyle(probe).color;
    },
  };
})();
