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

  // Paper is light. These come before the listeners of those that draw.
  let chosen;
  addEventListener("beforeprint", () => {
    chosen = root.dataset.theme;
    root.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    if (chosen) root.dataset.theme = chosen;
    else delete root.dataset.theme;
  });

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
