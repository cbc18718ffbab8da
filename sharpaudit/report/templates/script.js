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
      const forward = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
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
  const places = (width) => (width > 0 ? Math.min(12, Math.max(0, Math.ceil(1 - Math.log10(width / 2)))) : 3);
  const signed = (value, digits) => {
    const text = Math.abs(value).toFixed(digits);
    return (Number(text) === 0 ? "" : value < 0 ? "−" : "+") + text;
  };
  const raised = (power) => [...String(power)].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("");
  const said = (numbers, width) => {
    const largest = Math.max(...numbers.map(Math.abs));
    const power = largest === 0 || (largest >= 1e-3 && largest < 1e6) ? 0 : Math.floor(Math.log10(largest));
    const digits = places(width / 10 ** power), [value, ...ends] = numbers.map((x) => signed(x / 10 ** power, digits));
    return value + (ends.length ? ` [${ends.join(", ")}]` : "") + (power ? ` × 10${raised(power)}` : "");
  };
  const difference = (x, y) => {
    const change = y[0] - x[0];
    if (x[1] === null || y[1] === null) return { change, text: said([change], Math.abs(change) / 5), verdict: "no interval" };
    const low = change - Math.hypot(y[0] - y[1], x[2] - x[0]), high = change + Math.hypot(y[2] - y[0], x[0] - x[1]);
    return { change, low, high, text: said([change, low, high], high - low) };
  };
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
    names.forEach(([name, title, direction, unit], i) => {
      const [x, y] = [left.numbers[i], right.numbers[i]];
      if (!x && !y) return;
      const row = body.insertRow(), head = document.createElement("th");
      head.scope = "row";
      head.textContent = title;
      const code = document.createElement("code");
      code.textContent = name;
      if (unit) head.append(Object.assign(document.createElement("span"), { className: "unit", textContent: " " + unit }));
      head.append(code);
      row.append(head);
      cell(row, x ? x[3] : "–", "num");
      cell(row, y ? y[3] : "–", "num");
      const found = x && y ? difference(x, y) : null, word = found ? verdict(found, direction) : "";
      const shown = cell(row, found ? found.text : "–", "num");
      if (found) shown.dataset.v = String(found.change);
      cell(row, word, "fixed " + word);
    });
  };
  b.value = String(Math.min(1, cards.length - 1));
  for (const choice of [a, b]) choice.addEventListener("change", draw);
  draw();
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.guide)")) details.open = true;
});
