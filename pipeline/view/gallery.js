// The gallery: a list of any length, of which only what is visible exists, read from the server by pages.
import { $, api, fill, make, press, selection, show, showFrame } from "./shared.js";

const PAGE = 60, KEPT = 40, CAPTION = 44, GAP = 14, TALLEST = 8_000_000;
const list = $("list"), cells = $("cells"), detail = $("detail");
let about, total = 0, at = 0, turn = 0, open = null;
let columns = 1, side = 150, high = 200, scale = 1;
const pages = new Map(), nodes = new Map();

const query = () => ({ filter: $("filter").value.trim(), sort: $("sort").value, falling: $("falling").checked ? 1 : 0 });
const rowOf = index => pages.get(Math.floor(index / PAGE))?.[index % PAGE];

async function read(number) {
  if (pages.has(number)) return;
  pages.set(number, []);
  const mine = turn;
  try {
    const found = await api("api/list", { start: number * PAGE, ...query() });
    if (mine !== turn) return;
    pages.set(number, found.rows);
    $("problem").textContent = "";
    if (pages.size > KEPT) pages.delete(pages.keys().next().value);
    if (total !== found.total) { total = found.total; at = Math.min(at, Math.max(total - 1, 0)); layout(); }
    $("count").textContent = `${total.toLocaleString("en")} of ${about.rows.toLocaleString("en")} crops`;
    render();
  } catch (error) {
    if (mine !== turn) return;
    pages.delete(number);
    total = 0;
    layout();
    $("count").textContent = "";
    $("problem").textContent = error.message;
  }
}

function restart() {
  turn += 1;
  pages.clear();
  for (const node of nodes.values()) node.remove();
  nodes.clear();
  at = 0;
  list.scrollTop = 0;
  read(0);
}

// A browser limits how tall an element is: above TALLEST, scrolling by a pixel moves further than a pixel.
function layout() {
  const width = list.clientWidth - 2 * parseFloat(getComputedStyle(list).paddingLeft);
  columns = Math.max(2, Math.floor((width + GAP) / (150 + GAP)));
  side = Math.floor((width - GAP * (columns - 1)) / columns);
  high = side + CAPTION + GAP;
  const real = Math.ceil(total / columns) * high + GAP, tall = Math.min(real, TALLEST);
  cells.style.height = `${tall}px`;
  scale = tall > list.clientHeight ? (real - list.clientHeight) / (tall - list.clientHeight) : 1;
  render();
}

function render() {
  const top = list.scrollTop * scale;
  const first = Math.max(0, Math.floor(top / high) - 1) * columns;
  const last = Math.min(total, (Math.ceil((top + list.clientHeight) / high) + 1) * columns);
  for (const [index, node] of nodes) if (index < first || index >= last) { node.remove(); nodes.delete(index); }
  const wanted = new Set();
  for (let index = first; index < last; index++) {
    const node = nodes.get(index) ?? cell(index);
    const y = GAP / 2 + Math.floor(index / columns) * high - top + list.scrollTop;
    node.style.transform = `translate(${(index % columns) * (side + GAP)}px, ${y}px)`;
    node.style.width = `${side}px`;
    node.tabIndex = index === at ? 0 : -1;
    const row = rowOf(index);
    if (!row) wanted.add(Math.floor(index / PAGE));
    else if (node.dataset.number !== String(row.number)) describe(node, row);
    if (row) { press(node, row.sample_id, row.video_id); cover(node, row); }
  }
  clearTimeout(render.later);  // what is scrolled past is not read
  if (wanted.size) render.later = setTimeout(() => wanted.forEach(read), 40);
}

function cell(index) {
  const node = make("button", "cell", "", make("span", "crop"), make("span", "says"));
  node.type = "button";
  node.addEventListener("click", () => { at = index; look(); });
  node.addEventListener("focus", () => { at = index; });
  nodes.set(index, node);
  cells.append(node);
  return node;
}

const picture = number => Object.assign(make("img"), { alt: "", decoding: "async", src: `image/${number}` });

function describe(node, row) {
  node.dataset.number = row.number;
  node.firstChild.replaceChildren(picture(row.number));
  const what = make("b", `label${row.label}`, row.method), says = node.lastChild;
  says.replaceChildren(what, ` f${row.frame_index} t${row.track_id}`, make("br"));
  says.append("value" in row ? `${$("sort").value} ${show(row.value)}` : row.video_id);
  node.setAttribute("aria-label", `${row.sample_id}, ${row.method}`);
  node.title = row.sample_id;
}

function cover(node, row) {  // masks are only read while they are seen
  const crop = node.firstChild;
  if ($("opacity").value > 0 && row.label === 1 && crop.children.length === 1) crop.append(mask(row.number));
}

function mask(number) {
  const node = make("span", "mask");
  node.style.maskImage = `url("mask/${number}")`;
  return node;
}

function go(index) {
  if (!total) return;
  at = Math.max(0, Math.min(total - 1, index));
  const y = GAP / 2 + Math.floor(at / columns) * high, top = list.scrollTop * scale;
  if (y < top) list.scrollTop = (y - GAP) / scale;
  else if (y + high > top + list.clientHeight) list.scrollTop = (y + high - list.clientHeight) / scale;
  render();
  if (detail.open) look(); else nodes.get(at)?.focus({ preventScroll: true });
}

async function look() {
  await read(Math.floor(at / PAGE));
  const row = rowOf(at);
  if (!row) return;
  open = { ...row, index: at };
  if (!detail.open) detail.showModal();
  const sample = await api("api/sample", { number: row.number });
  if (open?.number !== row.number) return;
  const { counterparts, frame_size, number, ...values } = sample;
  $("title").textContent = row.sample_id;
  $("timeline").href = `video?${new URLSearchParams({ id: row.video_id })}`;
  $("crops").replaceChildren(...[row, ...counterparts.slice(0, 6)].map(one => {
    const crop = make("span", "crop", "", picture(one.number));
    if (one.label === 1) crop.append(mask(one.number));
    const caption = make("figcaption", "", "", make("b", `label${one.label}`, one.method), ` ${one.sample_id}`);
    return make("figure", "", "", crop, caption);
  }));
  showFrame($("frame"), { video: row.video_id, index: row.frame_index, size: frame_size, samples: [sample] });
  fill($("values"), Object.entries(values).map(([name, value]) => [name, show(value)]));
  chose();
}

function chose() {
  if (open) { press($("pick"), open.sample_id); press($("pickvideo"), open.video_id); }
  $("save").textContent = selection.size() ? `Save ${selection.size()} selected` : "Save selection";
  $("save").disabled = $("clear").disabled = !selection.size();
  render();
}

const toggle = name => { const row = rowOf(at); if (row) { selection.toggle(row[name]); chose(); } };
function turnMask() {
  const range = detail.open ? $("overlay") : $("opacity");
  range.value = range.value > 0 ? 0 : 50;
  slide();
}

function slide() {
  list.style.setProperty("--mask", $("opacity").value / 100);
  detail.style.setProperty("--mask", $("overlay").value / 100);
  render();
}

const KEYS = {
  ArrowLeft: () => go(at - 1), ArrowRight: () => go(at + 1), ArrowUp: () => go(at - columns), ArrowDown: () => go(at + columns),
  Home: () => go(0), End: () => go(total - 1),
  PageUp: () => go(at - columns * Math.max(1, Math.floor(list.clientHeight / high))),
  PageDown: () => go(at + columns * Math.max(1, Math.floor(list.clientHeight / high))),
  f: () => toggle("sample_id"), v: () => toggle("video_id"), m: turnMask,
  "/": () => { $("filter").focus(); $("filter").select(); },
  t: () => { const row = rowOf(at); if (row) location.href = `video?${new URLSearchParams({ id: row.video_id })}`; },
};
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const field = event.target.closest("input, select, summary");
  if (field) { if (event.key === "Escape" && field.id === "filter") go(at); return; }
  if (detail.open && event.key === "/") return;
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});
detail.addEventListener("close", () => { const last = open.index; open = null; go(last); });  // not where it was opened
list.addEventListener("scroll", () => requestAnimationFrame(render), { passive: true });
new ResizeObserver(layout).observe(list);
$("controls").addEventListener("submit", event => event.preventDefault());
$("filter").addEventListener("input", () => { clearTimeout(restart.later); restart.later = setTimeout(restart, 250); });
for (const name of ["sort", "falling"]) $(name).addEventListener("change", restart);
for (const name of ["opacity", "overlay"]) $(name).addEventListener("input", slide);
$("pick").addEventListener("click", () => toggle("sample_id"));
$("pickvideo").addEventListener("click", () => toggle("video_id"));
$("close").addEventListener("click", () => detail.close());
$("save").addEventListener("click", () => selection.save());
$("few").addEventListener("toggle", async () => {
  const found = await api("api/fewest");
  $("fewest").replaceChildren(...found.videos.map(one => {
    const link = make("a", "", one.video_id);
    link.href = `video?${new URLSearchParams({ id: one.video_id })}`;
    return make("li", "", "", link, ` ${one.samples}`);
  }));
}, { once: true });
$("clear").addEventListener("click", () => { selection.clear(); chose(); });

about = await api("api/about");
$("name").textContent = about.name;
document.title = `${about.name}: facemill view`;
$("columns").textContent = about.columns.join(", ");
$("sort").append(...about.columns.map(name => new Option(name)));
$("filter").value = new URLSearchParams(location.search).get("filter") ?? "";
slide();
chose();
restart();
