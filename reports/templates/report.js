"use strict";
// Sorting: a column's button orders the rows by data-sort; empty places stay last in both directions.
function sortBy(button) {
  const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
  const column = Array.from(head.parentNode.children).indexOf(head);
  const sign = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
  const key = row => row.children[column].dataset.sort;
  const rows = Array.from(body.rows);
  const numeric = rows.every(row => key(row) === "" || !Number.isNaN(Number(key(row))));
  const first = numeric ? sign : -sign;
  rows.sort((one, other) => {
    const a = key(one), b = key(other);
    if (a === "" || b === "") return (a === "") - (b === "");
    return first * (numeric ? Number(a) - Number(b) : a.localeCompare(b));
  });
  for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  body.append(...rows);
}
document.addEventListener("click", event => {
  const button = event.target.closest("table.sortable th button");
  if (button) sortBy(button);
});
// A thumbnail enlarges, and shrinks again.
document.addEventListener("click", event => {
  const button = event.target.closest("button.enlarge");
  if (button) button.setAttribute("aria-expanded", String(button.getAttribute("aria-expanded") !== "true"));
});
// What is wider than the screen says that it scrolls.
function markScrolling() {
  for (const part of document.querySelectorAll(".scroll")) {
    const wide = part.scrollWidth > part.clientWidth + 1;
    part.classList.toggle("scrolls", wide);
    if (wide && !part.querySelector(":scope > .scroll-hint")) {
      const hint = document.createElement("p");
      hint.className = "scroll-hint";
      hint.textContent = "scrolls sideways →";
      part.prepend(hint);
    }
  }
}
window.addEventListener("resize", markScrolling);
markScrolling();
// A link into a folded part opens it; one to a method's runs opens them all.
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target.classList.contains("runs")) for (const run of target.querySelectorAll(".run")) run.open = true;
  target.scrollIntoView();
}
window.addEventListener("hashchange", reveal);
if (location.hash) reveal();
// What is folded is printed too.
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not(.run)")) part.open = true;
});
// On a narrow screen the contents start folded.
if (window.matchMedia("(max-width: 70rem)").matches) document.querySelector("nav details").open = false;
