// Sorting and filtering of tables, and what is drawn over images. Every page is complete without it.
"use strict";

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.hasAttribute("data-value") ? cell.getAttribute("data-value") : cell.textContent.trim();
  const number = text === "" || text === "–" ? NaN : Number(text.split(" ")[0].replace("−", "-"));
  return { text, number };
}

function compare(first, second, direction) {
  const missing = (value) => value.text === "" || value.text === "–";
  if (missing(first) || missing(second)) {
    return missing(first) - missing(second);
  }
  if (Number.isNaN(first.number) || Number.isNaN(second.number)) {
    return direction * first.text.localeCompare(second.text, "en");
  }
  return direction * (first.number - second.number);
}

function sort(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const direction = heads[column].getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const head of heads) {
    head.removeAttribute("aria-sort");
  }
  heads[column].setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
  rows.sort((first, second) => compare(first.value, second.value, direction));
  body.append(...rows.map((item) => item.row));
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column));
    head.append(button);
  });
}

function checkbox(name, checked, changed) {
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = checked;
  box.addEventListener("change", () => changed(box.checked));
  label.append(box, name);
  return label;
}

function makeFilters(parts) {
  const rows = parts.flatMap((part) => (part.tBodies ? [...part.tBodies[0].rows] : [part]));
  const state = { words: "", controls: true };
  const apply = () => {
    for (const row of rows) {
      const head = row.querySelector("th, h3");
      const named = head.textContent.toLowerCase().includes(state.words);
      row.hidden = !named || (!state.controls && row.classList.contains("control"));
    }
  };
  const box = document.createElement("div");
  box.className = "filter";
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = "Filter methods";
  search.setAttribute("aria-label", "Show only methods whose name holds this");
  search.addEventListener("input", () => {
    state.words = search.value.trim().toLowerCase();
    apply();
  });
  box.append(search);
  if (rows.some((row) => row.classList.contains("control"))) {
    const changed = (checked) => {
      state.controls = checked;
      apply();
    };
    box.append(checkbox("Controls", true, changed));
  }
  const head = document.querySelector("main .head") ?? document.querySelector("main .lead") ?? document.querySelector("main h1");
  head.after(box);
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
const filtered = [...document.querySelectorAll("table.filterable, .panel:has(h3 a)")];
if (filtered.length > 0) {
  makeFilters(filtered);
}
for (const maps of document.querySelectorAll(".maps")) {
  const switches = maps.querySelector(".switches");
  if (maps.querySelector(".regions")) {
    switches.append(checkbox("True regions", true, (checked) => maps.classList.toggle("no-regions", !checked)));
  }
  if (maps.querySelector(".picture")) {
    switches.append(checkbox("Maps over the image", true, (checked) => maps.classList.toggle("no-heat", !checked)));
  }
}
