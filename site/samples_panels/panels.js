"use strict";
// Draws one panel per explanation, and tells the page which patches and tokens the reader picked.
// Everything that comes from data is written with textContent or as an attribute of an SVG element; nothing is parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
let args = null;
let picked = { patches: new Set(), tokens: new Set() };
let waiting = null; // the last choice that was sent and not yet answered
let lastToken = null;
let cursor = null; // {panel, row, column, corner}: where the keyboard is
let held = false; // a button is down on a map: an answer that comes now is drawn afterwards, for drawing replaces the map

const send = (type, body) => window.parent.postMessage({ isStreamlitMessage: true, type, ...body }, "*");
const fit = () => send("streamlit:setFrameHeight", { height: document.documentElement.offsetHeight + 4 });

function make(tag, attributes = {}, parent = null, space = null) {
  const element = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (parent) parent.append(element);
  return element;
}

const draw = (tag, attributes, parent) => make(tag, attributes, parent, SVG);

function colour(value) {
  const place = ((Math.max(-1, Math.min(1, value)) + 1) / 2) * (args.palette.length - 1);
  const low = Math.min(Math.floor(place), args.palette.length - 2);
  return args.palette[low].map((part, i) => Math.round(part + (args.palette[low + 1][i] - part) * (place - low)));
}

const css = (rgb) => `rgb(${rgb.join(",")})`;
const inkOn = (rgb) => (0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2] < 115 ? "#ffffff" : "#1a1a1a");
const signed = (value) => (value > 0 ? "+" : "") + Number(value.toPrecision(3));

function choose() {
  waiting = `${Date.now()}-${Math.random()}`;
  const ascending = (set) => [...set].sort((a, b) => a - b);
  const value = { id: waiting, patches: ascending(picked.patches), tokens: ascending(picked.tokens) };
  send("streamlit:setComponentValue", { value, dataType: "json" });
  render();
}

function chooseBox(panel, first, second) {
  const rows = [first.row, second.row].sort((a, b) => a - b);
  const columns = [first.column, second.column].sort((a, b) => a - b);
  picked.patches = new Set();
  for (let row = rows[0]; row <= rows[1]; row++)
    for (let column = columns[0]; column <= columns[1]; column++) picked.patches.add(row * panel.columns + column);
  choose();
}

function flip(set, index) {
  if (!set.delete(index)) set.add(index);
  choose();
}

function say(panel, row, column) {
  const value = panel.image ? `, ${signed(panel.image[row][column])}` : "";
  const state = picked.patches.has(row * panel.columns + column) ? ", picked" : "";
  document.getElementById("said").textContent = `row ${row + 1}, column ${column + 1}${value}${state}`;
}

function drawMap(panel, number, parent) {
  const height = WIDTH / panel.aspect;
  const cell = { width: WIDTH / panel.columns, height: height / panel.rows };
  const svg = draw("svg", { class: "map", viewBox: `0 0 ${WIDTH} ${height}`, "aria-label": panel.alt, tabindex: "0",
    role: panel.pickable ? "application" : "img", "data-panel": number }, parent);
  const shade = panel.image ? args.opacity : 0;
  const picture = panel.picture === null ? null : args.pictures[panel.picture];
  draw("rect", { width: WIDTH, height, fill: "#f7f7f7" }, svg);
  if (picture) {
    const image = draw("image", { width: WIDTH, height, href: picture, preserveAspectRatio: "none" }, svg);
    image.style.filter = `grayscale(${shade ? 1 : 0})`;
    image.style.imageRendering = "auto";
  }
  if (panel.image && args.smooth) drawSmooth(panel, svg, height);
  for (let row = 0; row < panel.rows; row++) {
    for (let column = 0; column < panel.columns; column++) {
      const rect = draw("rect", { class: "cell", x: column * cell.width, y: row * cell.height, width: cell.width, height: cell.height,
        fill: panel.image ? css(colour(panel.image[row][column] / panel.imageLimit)) : "transparent",
        "fill-opacity": args.smooth ? 0 : picture ? shade : 1, "data-row": row, "data-column": column }, svg);
      const title = draw("title", {}, rect);
      title.textContent = `row ${row + 1}, column ${column + 1}${panel.image ? ": " + signed(panel.image[row][column]) : ""}`;
    }
  }
  if (args.showRegions) {
    for (const region of panel.regions) {
      for (const line of region.lines) {
        const points = line.map(([x, y]) => `${x * WIDTH},${y * height}`).join(" ");
        for (const kind of ["region halo", "region"]) draw("polyline", { class: kind, points }, svg);
      }
    }
  }
  if (panel.pickable) {
    for (const kind of ["chosen halo", "chosen"]) {
      for (const index of picked.patches) {
        const [row, column] = [Math.floor(index / panel.columns), index % panel.columns];
        if (row < panel.rows)
          draw("rect", { class: kind, x: column * cell.width, y: row * cell.height, width: cell.width, height: cell.height }, svg);
      }
    }
    listen(panel, number, svg, cell, height);
  }
  return svg;
}

function drawSmooth(panel, svg, height) {
  const canvas = make("canvas", { width: panel.columns, height: panel.rows });
  const context = canvas.getContext("2d");
  panel.image.forEach((values, row) => values.forEach((value, column) => {
    context.fillStyle = css(colour(value / panel.imageLimit));
    context.fillRect(column, row, 1, 1);
  }));
  draw("image", { width: WIDTH, height, href: canvas.toDataURL(), preserveAspectRatio: "none",
    opacity: panel.picture === null ? 1 : args.opacity }, svg);
}

function listen(panel, number, svg, cell, height) {
  let start = null;
  let box = null;
  const at = (event) => {
    const frame = svg.getBoundingClientRect();
    const share = (value, low, size, count) => Math.max(0, Math.min(count - 1, Math.floor(((value - low) / size) * count)));
    return { row: share(event.clientY, frame.top, frame.height, panel.rows),
      column: share(event.clientX, frame.left, frame.width, panel.columns) };
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    start = { ...at(event), x: event.clientX, y: event.clientY };
    held = true;
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!start || Math.hypot(event.clientX - start.x, event.clientY - start.y) < 6) return;
    const end = at(event);
    if (!box) box = draw("rect", { class: "drag" }, svg);
    const [row, column] = [Math.min(start.row, end.row), Math.min(start.column, end.column)];
    const size = { x: column * cell.width, y: row * cell.height,
      width: (Math.abs(start.column - end.column) + 1) * cell.width, height: (Math.abs(start.row - end.row) + 1) * cell.height };
    for (const [name, value] of Object.entries(size)) box.setAttribute(name, value);
  });
  svg.addEventListener("pointerup", (event) => {
    if (!start) return;
    const [first, drawn] = [start, box];
    start = box = null;
    held = false;
    if (drawn) chooseBox(panel, first, at(event));
    else flip(picked.patches, first.row * panel.columns + first.column);
  });
  svg.addEventListener("pointercancel", () => {
    start = box = null;
    held = false;
    render();
  });
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const here = cursor && cursor.panel === number ? cursor : { panel: number, row: 0, column: 0, corner: null };
    if (step) {
      const moved = cursor && cursor.panel === number;
      const corner = event.shiftKey ? here.corner || { row: here.row, column: here.column } : null;
      const clamp = (value, count) => Math.max(0, Math.min(count - 1, value));
      cursor = moved ? { panel: number, row: clamp(here.row + step[0], panel.rows), column: clamp(here.column + step[1], panel.columns), corner } : here;
      say(panel, cursor.row, cursor.column);
      drawCursor(svg, panel, cell);
    } else if (event.key === "Enter" || event.key === " ") {
      cursor = here;
      if (here.corner) chooseBox(panel, here.corner, here);
      else flip(picked.patches, here.row * panel.columns + here.column);
    } else if (event.key === "Escape") {
      picked = { patches: new Set(), tokens: new Set() };
      choose();
    } else return;
    event.preventDefault();
  });
  drawCursor(svg, panel, cell);
}

function drawCursor(svg, panel, cell) {
  for (const old of svg.querySelectorAll(".cursor")) old.remove();
  if (!cursor || Number(svg.dataset.panel) !== cursor.panel || cursor.row >= panel.rows || cursor.column >= panel.columns) return;
  const corner = cursor.corner || cursor;
  draw("rect", { class: "cursor", x: Math.min(corner.column, cursor.column) * cell.width, y: Math.min(corner.row, cursor.row) * cell.height,
    width: (Math.abs(corner.column - cursor.column) + 1) * cell.width, height: (Math.abs(corner.row - cursor.row) + 1) * cell.height }, svg);
}

function drawTokens(panel, parent) {
  const strip = make("div", { class: "strip", role: "group", "aria-label": `tokens, ${panel.title}` }, parent);
  panel.tokens.forEach((name, index) => {
    const token = make("button", { class: panel.text ? "token" : "token none", type: "button", "data-token": index,
      "aria-pressed": String(panel.pickable && picked.tokens.has(index)) }, strip);
    token.textContent = name;
    if (panel.text) {
      const shade = colour(panel.text[index] / panel.textLimit);
      token.style.background = css(shade);
      token.style.color = inkOn(shade);
      token.title = signed(panel.text[index]);
      token.setAttribute("aria-label", `${name}, ${signed(panel.text[index])}`);
    }
    if (!panel.pickable) {
      token.disabled = true;
      return;
    }
    token.addEventListener("click", (event) => {
      if (event.shiftKey && lastToken !== null) {
        picked.tokens = new Set();
        for (let i = Math.min(lastToken, index); i <= Math.max(lastToken, index); i++) picked.tokens.add(i);
        choose();
      } else {
        lastToken = index;
        flip(picked.tokens, index);
      }
    });
  });
}

function drawKey(panel, parent) {
  const key = make("div", { class: "key" }, parent);
  const ends = [`−${Number(panel.imageLimit.toPrecision(3))}`, `+${Number(panel.imageLimit.toPrecision(3))}`];
  make("span", {}, key).textContent = ends[0];
  const canvas = make("canvas", { width: 101, height: 1, "aria-hidden": "true" }, key);
  const context = canvas.getContext("2d");
  for (let x = 0; x <= 100; x++) {
    context.fillStyle = css(colour(x / 50 - 1));
    context.fillRect(x, 0, 1, 1);
  }
  make("span", {}, key).textContent = ends[1];
}

function render() {
  const focus = document.activeElement;
  const kept = focus && focus.closest(".panel") ? [focus.closest(".panel").dataset.panel, focus.dataset.token] : null;
  const root = document.getElementById("panels");
  root.replaceChildren();
  args.panels.forEach((panel, number) => {
    const box = make("section", { class: "panel", "data-panel": number }, root);
    make("h3", {}, box).textContent = panel.title;
    make("p", { class: "under" }, box).textContent = panel.under;
    drawMap(panel, number, box);
    if (panel.image) drawKey(panel, box);
    drawTokens(panel, box);
    for (const words of panel.notes) make("p", { class: "words" }, box).textContent = words;
  });
  if (kept) {
    const again = `.panel[data-panel="${Number(kept[0])}"] ` + (kept[1] === undefined ? "svg.map" : `[data-token="${Number(kept[1])}"]`);
    const element = root.querySelector(again);
    if (element) element.focus({ preventScroll: true });
  }
  fit();
}

window.addEventListener("message", (event) => {
  if (!event.data || event.data.type !== "streamlit:render") return;
  args = event.data.args;
  document.documentElement.classList.toggle("dark", Boolean(args.dark));
  if (waiting === null || args.answered === waiting) {
    waiting = null;
    picked = { patches: new Set(args.patches), tokens: new Set(args.tokens) };
  }
  if (!held) render();
});
new ResizeObserver(fit).observe(document.body);
send("streamlit:componentReady", { apiVersion: 1 });
