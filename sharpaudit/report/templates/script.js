"use strict";
for (const button of document.querySelectorAll("button.sort")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = button.closest("table"), body = table.tBodies[0];
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[head.cellIndex];
      return cell.dataset.v === undefined ? cell.textContent.trim() : Number(cell.dataset.v);
    };
    const order = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const forward = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return down ? -forward : forward;
    };
    body.append(...[...body.rows].map((row) => [key(row), row]).sort((x, y) => order(x[0], y[0])).map((x) => x[1]));
  });
}

const source = document.getElementById("numbers");
if (source) {
  const { names, cards } = JSON.parse(source.textContent);
  const [a, b] = ["a", "b"].map((side) => document.getElementById("choose-" + side));
  const body = document.getElementById("differences"), warning = document.getElementById("unlike");
  const cell = (row, text, kind) => {
    const made = row.insertCell();
    made.textContent = text;
    made.className = kind;
    return made;
  };
  const signed = (value, places) => {
    const text = Math.abs(value).toFixed(places);
    return (Number(text) === 0 ? "" : value < 0 ? "−" : "+") + text;
  };
  const difference = (x, y) => {
    const change = y[0] - x[0];
    if (x[1] === null || y[1] === null) return { change, text: signed(change, places(Math.abs(change) / 5)), verdict: "no interval" };
    const low = change - Math.hypot(y[0] - y[1], x[2] - x[0]), high = change + Math.hypot(y[2] - y[0], x[0] - x[1]);
    const digits = places(high - low);
    return { change, low, high, text: `${signed(change, digits)} [${signed(low, digits)}, ${signed(high, digits)}]` };
  };
  const places = (width) => (width > 0 ? Math.min(12, Math.max(0, Math.ceil(1 - Math.log10(width / 2)))) : 3);
  const verdict = (found, direction) => {
    if (found.verdict) return found.verdict;
    if (found.low <= 0 && found.high >= 0) return "undecided";
    if (direction === "none") return found.change > 0 ? "higher" : "lower";
    return (found.change > 0) === (direction === "higher") ? "better" : "worse";
  };
  const draw = () => {
    const [left, right] = [a, b].map((choice) => cards[Number(choice.value)]);
    warning.hidden = left.data === right.data;
    body.replaceChildren();
    names.forEach(([name, title, direction], i) => {
      const [x, y] = [left.numbers[i], right.numbers[i]];
      if (!x && !y) return;
      const row = body.insertRow(), head = document.createElement("th");
      head.scope = "row";
      head.textContent = title;
      const code = document.createElement("code");
      code.textContent = name;
      head.append(code);
      row.append(head);
      cell(row, x ? x[3] : "–", "num");
      cell(row, y ? y[3] : "–", "num");
      const found = x && y ? difference(x, y) : null, word = found ? verdict(found, direction) : "";
      const shown = cell(row, found ? found.text : "–", "num");
      if (found) shown.dataset.v = String(found.change);
      cell(row, word, word);
    });
  };
  b.value = String(Math.min(1, cards.length - 1));
  for (const choice of [a, b]) choice.addEventListener("change", draw);
  draw();
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.guide)")) details.open = true;
});
