// The page of one video: what was sampled, what was detected, and why the rest gave no sample.
import { $, api, fill, make, press, selection, show, showFrame } from "./shared.js";

const id = new URLSearchParams(location.search).get("id") ?? "";
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const COLOURS = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7"];
let seen;

function lookAt(index) {
  const found = (seen.frames.find(frame => frame.index === index)?.faces ?? []).map(face => face.bbox);
  const samples = seen.samples.filter(sample => sample.frame_index === index);
  const size = seen.facts && [seen.facts.width, seen.facts.height];
  const same = (a, b) => a.every((value, i) => Math.abs(value - b[i]) < 1);
  const lost = found.filter(box => !samples.some(sample => same(sample.bbox, box)));
  $("title").textContent = `Frame ${index}: ${samples.length ? samples.map(sample => `track ${sample.track_id}`).join(", ") : stateOf(index)}`;
  showFrame($("frame"), { video: id, index, size, samples, found: lost });
  if (!$("detail").open) $("detail").showModal();
}

const stateOf = index => seen.frames.find(frame => frame.index === index)?.state ?? "no sample";

function traces() {
  const tracks = [...new Set(seen.samples.map(sample => sample.track_id))];
  const states = [...new Set(seen.frames.map(frame => frame.state))].filter(state => state !== "sample");
  const names = [...tracks.map(track => `track ${track}`), ...states];
  const made = [], panels = [["frames", names]];
  const add = (panel, x, y, line, extra) => made.push({
    x, y, customdata: x, mode: line ? "lines+markers" : "markers", type: "scatter", yaxis: panel ? `y${panel + 1}` : "y", showlegend: false,
    hovertemplate: "frame %{x}: %{y}<extra></extra>", ...extra,
  });
  tracks.forEach((track, n) => {
    const own = seen.samples.filter(sample => sample.track_id === track), x = own.map(sample => sample.frame_index);
    add(0, x, x.map(() => `track ${track}`), false, { marker: { color: colour(COLOURS[n % 8]), size: 9, symbol: "square" } });
  });
  states.forEach(state => {
    const x = seen.frames.filter(frame => frame.state === state).map(frame => frame.index);
    add(0, x, x.map(() => state), false, { marker: { color: colour("--bad"), size: 9, symbol: "x" } });
  });
  const measured = (title, of, more = {}) => {
    const rows = seen.samples.filter(sample => Number.isFinite(of(sample)));
    if (!rows.length && !more.faces?.length) return;
    const panel = panels.push([title, null]) - 1;
    if (more.faces) add(panel, more.faces.map(face => face[0]), more.faces.map(face => face[1]), false, { marker: { color: colour("--faint"), size: 5, symbol: "x-thin", line: { width: 1, color: colour("--faint") } } });
    tracks.forEach((track, n) => {
      const own = rows.filter(sample => sample.track_id === track);
      add(panel, own.map(sample => sample.frame_index), own.map(of), true, { marker: { color: colour(COLOURS[n % 8]), size: 5 }, line: { width: 1.5 } });
    });
  };
  const faces = of => seen.frames.flatMap(frame => frame.faces.map(face => [frame.index, of(face)]));
  measured("detection score", sample => sample.score, { faces: faces(face => face.score) });
  measured("face size (px)", sample => Math.min(sample.bbox[2] - sample.bbox[0], sample.bbox[3] - sample.bbox[1]), { faces: faces(face => face.size) });
  if (seen.samples.some(sample => sample.label === 1)) measured("mask coverage", sample => sample.mask_coverage);
  measured("detector's score", sample => sample.detector_score ?? NaN);
  return { made, panels };
}

function draw() {
  const { made, panels } = traces(), ink = colour("--ink"), line = colour("--line");
  const first = Math.max(90, 40 + 26 * panels[0][1].length), each = 120, gap = 34;
  const height = first + (panels.length - 1) * (each + gap) + 60;
  const layout = {
    height, margin: { l: 40, r: 16, t: 10, b: 50 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent", hovermode: "closest",
    font: { family: "system-ui, sans-serif", size: 12, color: ink },
    xaxis: { title: { text: "frame" }, gridcolor: line, zeroline: false, range: [-0.02 * frames(), 1.02 * frames()], anchor: panels.length > 1 ? `y${panels.length}` : "y" },
    shapes: seen.cuts.map(cut => ({ type: "line", xref: "x", yref: "paper", x0: cut - 0.5, x1: cut - 0.5, y0: 0, y1: 1, line: { color: colour("--look"), dash: "dot", width: 1.5 } })),
    annotations: panels.map(([title], n) => ({ text: title, xref: "paper", yref: "paper", x: 0, xanchor: "left", y: 0, yanchor: "bottom", showarrow: false, font: { size: 12, color: colour("--faint") }, n })),
  };
  const sizes = panels.findIndex(([title]) => title.startsWith("face size")) + 1;
  if (sizes && seen.min_face) layout.shapes.push({ type: "line", xref: "paper", yref: `y${sizes}`, x0: 0, x1: 1, y0: seen.min_face, y1: seen.min_face, line: { color: colour("--bad"), dash: "dash", width: 1 } });
  let top = 1;
  panels.forEach(([, names], n) => {
    const part = (n ? each : first) / (height - 60), bottom = Math.max(0, top - part);
    layout[n ? `yaxis${n + 1}` : "yaxis"] = {
      domain: [bottom, top - 18 / height], gridcolor: line, zeroline: false, anchor: "x", fixedrange: true, automargin: true, nticks: 4, tickfont: { size: 11 },
      ...(names ? { type: "category", categoryorder: "array", categoryarray: [...names].reverse() } : { rangemode: "tozero" }),
    };
    layout.annotations[n].y = top - 18 / height;
    top = bottom - gap / (height - 60);
  });
  Plotly.newPlot("plot", made, layout, { displayModeBar: false, responsive: true });
  $("plot").on("plotly_click", event => lookAt(event.points[0].customdata));
}

const frames = () => seen.facts?.frames ?? Math.max(1, ...seen.samples.map(sample => sample.frame_index), ...seen.frames.map(frame => frame.index));

function describe() {
  const facts = seen.facts, video = seen.video;
  $("name").textContent = id;
  $("own").href = `./?${new URLSearchParams({ filter: `video_id=${id}` })}`;
  document.title = `${id}: facemill view`;
  $("summary").textContent = seen.summary;
  const figures = [["samples", seen.samples.length], ["label", video?.method ?? seen.samples[0]?.method ?? "–"], ["split", video?.split ?? "–"]];
  if (facts) figures.push(
    ["frames", facts.frames], ["frames per second", show(facts.fps && +facts.fps.toFixed(2))], ["size", `${facts.width} × ${facts.height}`],
    ["codec", facts.codec], ["cuts", seen.cuts.length], ["longest gap (s)", show(facts.longest_gap_s && +facts.longest_gap_s.toFixed(3))]);
  $("facts").replaceChildren(...figures.map(([name, value]) => make("div", "", "", make("dt", "", name), make("dd", "", String(value)))));
  $("boxes").textContent = seen.detected_in === id ? "" : `Faces and cuts were looked for in its original, ${seen.detected_in}.`;
  const rows = seen.failures.map(row => [`${row.stage}: ${row.reason.replaceAll("_", " ")}`, row.message]);
  fill($("failures"), rows.length ? rows : [["Nothing about this video."]]);
  const all = new Map([...seen.frames.map(frame => [frame.index, frame.state]), ...seen.samples.map(sample => [sample.frame_index, "sample"])]);
  $("frames").replaceChildren(...[...all].sort((a, b) => a[0] - b[0]).map(([index, state]) => {
    const button = make("button", state === "sample" ? "" : "lost", state === "sample" ? `${index}` : `${index} ${state}`);
    button.type = "button";
    button.addEventListener("click", () => lookAt(index));
    return make("li", "", "", button);
  }));
}

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
