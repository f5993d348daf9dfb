// Shared by the gallery and the video page: requests, elements, the selection, and frames with boxes.

export const $ = id => document.getElementById(id);

export async function api(path, values = {}) {
  const response = await fetch(`${path}?${new URLSearchParams(values)}`);
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found;
}

// Text is always set as text: names of files are no markup.
export function make(tag, classes = "", text = "", ...children) {
  const node = document.createElement(tag);
  if (classes) node.className = classes;
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

const KEY = `facemill ${location.pathname.split("/")[1]}`;
const chosen = new Set(JSON.parse(sessionStorage.getItem(KEY) ?? "[]"));
export const selection = {
  has: id => chosen.has(id),
  size: () => chosen.size,
  toggle(id) { chosen.delete(id) || chosen.add(id); this.keep(); },
  clear() { chosen.clear(); this.keep(); },
  keep() { sessionStorage.setItem(KEY, JSON.stringify([...chosen])); },
  save() {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([[...chosen].sort().join("\n") + "\n"], { type: "text/plain" }));
    link.download = "selection.txt";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  },
};

export function press(button, ...ids) {
  button.setAttribute("aria-pressed", ids.some(id => selection.has(id)));
}

const SVG = "http://www.w3.org/2000/svg";
function shape(tag, classes, values) {
  const node = document.createElementNS(SVG, tag);
  node.setAttribute("class", classes);
  for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
  return node;
}
const rect = (classes, [x1, y1, x2, y2]) => shape("rect", classes, { x: x1, y: y1, width: x2 - x1, height: y2 - y1 });

// The crop's corners in the frame: the affine [a b c; d e f] maps source points to crop points.
function corners({ affine: [a, b, c, d, e, f], crop_size: side }) {
  const det = a * e - b * d;
  return [[0, 0], [side, 0], [side, side], [0, side]]
    .map(([u, v]) => [(e * (u - c) - b * (v - f)) / det, (a * (v - f) - d * (u - c)) / det]);
}

// A frame of a source video with samples' boxes, landmarks and crops, and the boxes of further detections.
export function showFrame(place, { video, index, size, samples, found = [] }) {
  const image = make("img"), svg = shape("svg", "", { "aria-hidden": "true" });
  const draw = () => {
    const [width, height] = size ?? [image.naturalWidth, image.naturalHeight];
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.append(...found.map(box => rect("found", box)));
    for (const sample of samples) {
      svg.append(shape("polygon", "quad", { points: corners(sample).join(" ") }), rect("box", sample.bbox));
      const points = sample.landmarks ?? [];
      for (let i = 0; i < points.length; i += 2)
        svg.append(shape("circle", "point", { cx: points[i], cy: points[i + 1], r: width / 320 }));
    }
  };
  image.addEventListener("load", draw, { once: true });
  image.addEventListener("error", async () => {  // the reason is in the answer
    const text = await api("frame", { video, index }).then(() => "", error => error.message);
    place.replaceChildren(make("p", "problem", text));
  }, { once: true });
  image.alt = `Frame ${index} of ${video}`;
  image.src = `frame?${new URLSearchParams({ video, index })}`;
  const key = make("ul", "key faint", "", make("li", "box", "face and landmarks"), make("li", "quad", "crop"));
  if (found.length) key.append(make("li", "found", "detected, no sample"));
  place.replaceChildren(make("div", "frame", "", image, svg), key);
}

export function fill(table, rows) {
  table.replaceChildren(...rows.map(([name, ...cells]) => {
    const head = make("th", "", name);
    head.scope = "row";
    return make("tr", "", "", head, ...cells.map(cell => make("td", "", String(cell))));
  }));
}

export const show = value => value === null || value === undefined ? "–"
  : Array.isArray(value) ? value.map(show).join(", ")
  : typeof value === "number" && !Number.isInteger(value) ? String(+value.toPrecision(6)) : String(value);
