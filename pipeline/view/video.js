// The page of one video: what was sampled, what was detected, and why the rest gave no sample.
import { $, api, fill, make, press, selection, show, showFrame } from "./shared.js";

const id = new URLSearchParams(location.search).get("id") ?? "";
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const shorter = ([x1, y1, x2, y2]) => Math.min(x2 - x1, y2 - y1);
const within = (a, b) => a.every((value, i) => Math.abs(value - b[i]) < 1);
let seen;

function lookAt(index) {
  const samples = seen.samples.filter(one => one.frame_index === index);
  const frame = seen.frames.find(one => one.index === index) ?? { faces: [], state: "no sample" };
  const found = frame.faces.map(one => one.bbox).filter(box => !samples.some(one => within(one.bbox, box)));
  const what = samples.map(one => `track ${one.track_id}`).join(", ") || frame.state;
  $("title").textContent = `Frame ${index}: ${what}`;
  showFrame($("frame"), { video: id, index, size: seen.facts && [seen.facts.width, seen.facts.height], samples, found });
  if (!$("detail").open) $("detail").showModal();
}

// Rows of the figure, one above the other: a name, and traces as [colour, symbol, [[frame, value], ...]].
function panels() {
  const tracks = [...new Set(seen.samples.map(one => one.track_id))];
  const states = [...new Set(seen.frames.map(one => one.state))].filter(state => state !== "sample");
  const perTrack = of => tracks.map((track, n) => [`c${n % 8}`, "square", seen.samples
    .filter(one => one.track_id === track && of(one) !== null && of(one) !== undefined)
    .map(one => [one.frame_index, of(one)])]);
  const lost = of => ["faint", "x-thin-open", seen.frames.flatMap(one => one.faces.map(face => [one.index, of(face)]))];
  const rows = [
    ["frames", [...perTrack(one => `track ${one.track_id}`), ...states.map(state =>
      ["bad", "x", seen.frames.filter(one => one.state === state).map(one => [one.index, state])])]],
    ["detection score", [lost(face => face.score), ...perTrack(one => one.score)]],
    ["face size, px", [lost(face => face.size), ...perTrack(one => shorter(one.bbox))]],
    ["mask coverage", seen.samples.some(one => one.label) ? perTrack(one => one.mask_coverage) : []],
    ["detector's score", perTrack(one => one.detector_score)],
  ];
  return rows.filter(([, traces]) => traces.some(([, , points]) => points.length));
}

function draw() {
  const rows = panels(), line = colour("line"), axis = { gridcolor: line, zeroline: false, automargin: true };
  const traces = rows.flatMap(([name, parts], n) => parts.map(([paint, symbol, points]) => ({
    type: "scatter", mode: n && symbol === "square" ? "lines+markers" : "markers", yaxis: n ? `y${n + 1}` : "y", name,
    x: points.map(point => point[0]), y: points.map(point => point[1]), hovertemplate: "frame %{x}: %{y}<extra></extra>",
    marker: { color: colour(paint), size: n ? 6 : 9, symbol }, line: { width: 1.5 },
  })));
  const rule = (paint, dash, places) => ({ type: "line", line: { color: colour(paint), dash, width: 1.5 }, ...places });
  const layout = {
    height: 60 + 140 * rows.length, margin: { l: 20, r: 16, t: 10, b: 50 }, hovermode: "closest", showlegend: false,
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", grid: { rows: rows.length, columns: 1, ygap: 0.2 },
    font: { family: "system-ui, sans-serif", size: 12, color: colour("ink") },
    xaxis: { ...axis, title: { text: "frame" }, anchor: rows.length > 1 ? `y${rows.length}` : "y" },
    shapes: seen.cuts.map(cut => rule("look", "dot", { yref: "paper", x0: cut - 0.5, x1: cut - 0.5, y0: 0, y1: 1 })),
  };
  rows.forEach(([name], n) => {
    layout[n ? `yaxis${n + 1}` : "yaxis"] = { ...axis, title: { text: name }, fixedrange: true, nticks: 4,
      ...(n ? { rangemode: "tozero" } : { type: "category", autorange: "reversed" }) };
    if (name.startsWith("face size") && seen.min_face)
      layout.shapes.push(rule("bad", "dash", { xref: "paper", yref: `y${n + 1}`, x0: 0, x1: 1, y0: seen.min_face, y1: seen.min_face }));
  });
  Plotly.newPlot("plot", traces, layout, { displayModeBar: false, responsive: true });
  $("plot").on("plotly_click", event => lookAt(event.points[0].x));
}

function describe() {
  const { facts, video, samples, frames } = seen;
  $("summary").textContent = seen.summary;
  const figures = {
    samples: samples.length, method: video?.method ?? samples[0]?.method, split: video?.split, frames: facts?.frames,
    "frames per second": facts?.fps && +facts.fps.toFixed(2), size: facts && `${facts.width} × ${facts.height}`,
    codec: facts?.codec, cuts: seen.cuts.length, "longest gap (s)": facts?.longest_gap_s && +facts.longest_gap_s.toFixed(3),
  };
  $("facts").replaceChildren(...Object.entries(figures).map(([name, value]) =>
    make("div", "", "", make("dt", "", name), make("dd", "", show(value)))));
  if (seen.detected_in !== id) $("boxes").textContent = `Faces and cuts were looked for in its original, ${seen.detected_in}.`;
  const rows = seen.failures.map(row => [`${row.stage}: ${row.reason.replaceAll("_", " ")}`, row.message]);
  fill($("failures"), rows.length ? rows : [["Nothing about this video."]]);
  const states = new Map([...frames.map(one => [one.index, one.state]), ...samples.map(one => [one.frame_index, "sample"])]);
  $("frames").replaceChildren(...[...states].sort((a, b) => a[0] - b[0]).map(([index, state]) => {
    const button = make("button", state === "sample" ? "" : "lost", state === "sample" ? `${index}` : `${index} ${state}`);
    button.type = "button";
    button.addEventListener("click", () => lookAt(index));
    return make("li", "", "", button);
  }));
}

$("name").textContent = id;
$("own").href = `./?${new URLSearchParams({ filter: `video_id=${id}` })}`;
document.title = `${id}: facemill view`;
$("close").addEventListener("click", () => $("detail").close());
$("pickvideo").addEventListener("click", () => { selection.toggle(id); press($("pickvideo"), id); });
press($("pickvideo"), id);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => seen && draw());
try {
  seen = await api("api/video", { id });
  describe();
  draw();
} catch (error) {
  $("problem").textContent = error.message;
}
