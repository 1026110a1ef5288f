"use strict";
// Plots of plotly.js. Colours are given as `var(--name)` and looked up whenever the theme changes.
const plots = (() => {
  const drawn = new Map();
  let loaded = false;
  const PRINTED = 660; // pixels: the width of a page of paper

  const resolve = (value) => {
    if (typeof value === "string") return value.startsWith("var(--") ? theme.colour(value) : value;
    if (Array.isArray(value)) return value.map(resolve);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, resolve(one)]));
  };

  // plotly.js lies in the page packed; the page's policy knows what it unpacks to by its hash.
  const ready = (async () => {
    const packed = document.getElementById("plotly");
    if (!packed) return;
    const loading = hold();
    const bytes = Uint8Array.from(atob(packed.textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    loaded = true;
    loading.end();
  })();

  // Until plotly.js is there the page counts as loading, so that what prints it at once, as `chromium --print-to-pdf`
  // does, waits: an empty frame is open so long.
  function hold() {
    const frame = document.body.appendChild(document.createElement("iframe"));
    frame.hidden = true;
    frame.contentDocument.open();
    return {
      end() {
        frame.contentDocument.close();
        frame.remove();
      },
    };
  }

  function draw(box, figure, width) {
    drawn.set(box, figure);
    return loaded ? paint(box, figure, width) : ready.then(() => drawn.get(box) === figure && paint(box, figure, width));
  }

  function paint(box, figure, width) {
    const { data, layout } = resolve(figure);
    const family = getComputedStyle(document.body).fontFamily;
    const font = { family, size: 12, ...layout.font, color: theme.colour("var(--soft)") };
    const whole = { ...layout, font, ...(width ? { width, autosize: false } : { autosize: true }) };
    return Plotly.react(box, data, whole, { displayModeBar: false, responsive: true });
  }

  function redraw(width) {
    for (const [box, figure] of drawn) box.isConnected ? draw(box, figure, width) : drawn.delete(box);
  }

  function start(block) {
    const figures = JSON.parse(block.querySelector("script").textContent);
    const box = block.querySelector(".plot");
    const select = block.querySelector("select");
    const show = (width) => draw(box, figures[select ? Number(select.value) : 0], width);
    if (select) choosing(block, select, show);
    box.style.minHeight = `${figures[0].layout.height}px`;
    waiting.set(box, show);
    near.observe(box);
  }

  // A choice is named in the address bar and on paper; an address chooses.
  function choosing(block, select, show) {
    const chosen = block.querySelector(".chosen");
    const name = () => (chosen.textContent = select.options[select.selectedIndex].text);
    name();
    select.addEventListener("change", () => {
      links.note(block, name());
      show();
    });
    links.register(block, (text) => {
      const at = [...select.options].findIndex((option) => option.text === text);
      if (at < 0) return null;
      select.value = at;
      name();
      show();
      return block;
    });
  }

  // Far below the window a plot waits until someone comes near, or prints.
  const waiting = new Map();
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) begin(target);
  }, { rootMargin: "400px" });

  function begin(box, width) {
    const show = waiting.get(box);
    waiting.delete(box);
    near.unobserve(box);
    if (show) show(width);
  }

  document.querySelectorAll(".plots").forEach(start);
  theme.listen(() => redraw());
  addEventListener("beforeprint", () => {
    redraw(PRINTED);
    for (const box of [...waiting.keys()]) begin(box, PRINTED);
  });
  addEventListener("afterprint", () => redraw());
  links.go();
  return { draw };
})();
