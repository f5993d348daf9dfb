// Draws the figures of a report. Names come from files, and reach Plotly, which knows some markup, as plain text only.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const controls = document.getElementById("controls");
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/%\{/g, "% {");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const config = { displayModeBar: false, responsive: true, doubleClick: "reset" };
  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

  function layout(x, y, more) {
    const axis = { linecolor: css("--faint"), tickcolor: css("--faint"), zeroline: false, automargin: true };
    const font = { size: 12, color: css("--faint") };
    return {
      margin: { l: 48, r: 6, t: 6, b: 40 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: css("--ink") },
      hovermode: "x unified",
      hoverdistance: -1,
      hoverlabel: { bgcolor: css("--raised"), bordercolor: css("--faint"), font: { color: css("--ink") }, namelength: 40 },
      dragmode: "zoom",
      showlegend: false,
      xaxis: { ...axis, title: { text: plain(x), standoff: 8, font }, showgrid: false, ticks: "outside", ...more?.xaxis },
      yaxis: { ...axis, title: { text: plain(y), standoff: 8, font }, gridcolor: css("--line"), rangemode: "tozero",
               fixedrange: true, showline: false, ...more?.yaxis },
    };
  }

  // Filtered histograms: a curve is a sum over cells, which are a split and a method each.
  const chosen = (id) => [...document.querySelectorAll(`#${id} input:checked`)].map((box) => Number(box.value));

  function curves() {
    const splits = chosen("splits"), methods = chosen("methods");
    const named = (names, pick) => names.map((name, place) => ({ name, colour: `--c${place % 8}`, dash: place < 8 ? "solid" : "dot", ...pick(place) }));
    const by = document.getElementById("compare").value;
    const all = by === "splits"
      ? named(data.splits, (place) => ({ splits: splits.filter((one) => one === place), methods }))
      : by === "methods"
        ? named(data.methods, (place) => ({ splits, methods: methods.filter((one) => one === place) }))
        : named(["real", "fake"], (place) => ({ splits, methods: methods.filter((one) => (data.methods[one] === "real") === !place) }));
    return all.filter((curve) => curve.splits.length && curve.methods.length);
  }

  function histogram(figure, curve) {
    const sums = new Array(figure.edges.length - 1).fill(0);
    for (const split of curve.splits) for (const method of curve.methods)
      figure.counts[split][method].forEach((count, bin) => { sums[bin] += count; });
    const total = sums.reduce((a, b) => a + b, 0);
    const middle = (a, b) => (figure.logarithmic ? Math.sqrt(a * b) : (a + b) / 2);
    const beyond = (end, next) => {  // a middle outside the histogram, so that its first and last steps are drawn
      const [edge, inner] = [figure.edges.at(end), middle(figure.edges.at(end), figure.edges.at(next))];
      return figure.logarithmic ? (edge * edge) / inner : 2 * edge - inner;
    };
    return {
      type: "scatter", mode: "lines", name: plain(curve.name), visible: total > 0,
      x: [beyond(0, 1), ...sums.map((_, bin) => middle(figure.edges[bin], figure.edges[bin + 1])), beyond(-1, -2)],
      y: [0, ...sums.map((count) => (total ? (100 * count) / total : 0)), 0],
      text: ["", ...sums.map((count, bin) => {
        const [from, to] = [figure.edges[bin], figure.edges[bin + 1]];
        const range = figure.whole ? number.format((from + to) / 2) : `${number.format(from)} to ${number.format(to)}`;
        return `${count.toLocaleString("en")} of ${total.toLocaleString("en")} ${figure.of}, ${range}`;
      }), ""],
      hovertemplate: "%{y:.1f} % (%{text})",
      line: { shape: "hvh", width: curve.width, color: css(curve.colour), dash: curve.dash },
      fill: "tozeroy", fillcolor: `${css(curve.colour)}1a`,
    };
  }

  function drawFigures() {
    const shown = curves();
    for (const figure of data.figures ?? []) {
      const edges = [figure.edges[0], figure.edges.at(-1)].map((edge) => (figure.logarithmic ? Math.log10(edge) : edge));
      const room = 0.02 * (edges[1] - edges[0]);
      const xaxis = { type: figure.logarithmic ? "log" : "linear", range: [edges[0] - room, edges[1] + room], hoverformat: ".4~g" };
      if (figure.whole) xaxis.dtick = Math.ceil(figure.counts[0][0].length / 8);
      if (figure.logarithmic) xaxis.dtick = edges[1] - edges[0] < 2 ? "D2" : 1;
      draw(figure.id, shown.map((curve, place) => histogram(figure, { ...curve, width: Math.min(4, 1.5 + 1.3 * (shown.length - 1 - place)) })), layout(figure.unit, `% of ${figure.of}`, { xaxis }));
    }
    document.getElementById("key").replaceChildren(...shown.map((curve) => {
      const item = document.createElement("li");
      item.textContent = curve.name;
      item.style.setProperty("--of", `var(${curve.colour})`);
      return item;
    }));
    document.getElementById("state").textContent = shown.length
      ? `Shown: ${chosen("splits").length} of ${data.splits.length} splits, ${chosen("methods").length} of ${data.methods.length} methods.`
      : "Nothing is chosen: choose a split and a method.";
  }

  function drawOthers() {
    for (const one of data.bars ?? [])
      draw(one.id, [{ type: "bar", orientation: "h", x: one.values, y: one.names.map(plain), marker: { color: css("--c0") },
                      hovertemplate: `%{x:.1f} ${one.unit}<extra></extra>` }],
        layout(one.unit, "", { xaxis: { rangemode: "tozero" }, yaxis: { autorange: "reversed", type: "category" } }), { hovermode: "closest" });
  }

  function draw(id, traces, made, more) {
    const plot = document.getElementById(`plot-${id}`);
    Plotly.react(plot, traces, { ...made, ...more }, config);
    if (plot.dataset.keys) return;
    plot.dataset.keys = "yes";
    plot.addEventListener("keydown", (event) => zoom(plot, event));
  }

  function zoom(plot, event) {
    const [from, to] = plot.layout.xaxis.range ?? plot._fullLayout.xaxis.range;
    const step = { "+": [0.2, -0.2], "=": [0.2, -0.2], "-": [-0.3, 0.3], ArrowLeft: [-0.2, -0.2], ArrowRight: [0.2, 0.2] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (!step && event.key !== "0")) return;
    event.preventDefault();
    if (!step) { Plotly.relayout(plot, { "xaxis.range": plot.dataset.all ? JSON.parse(plot.dataset.all) : undefined, "xaxis.autorange": !plot.dataset.all }); return; }
    plot.dataset.all ||= JSON.stringify([from, to]);
    Plotly.relayout(plot, { "xaxis.range": [from + step[0] * (to - from), to + step[1] * (to - from)] });
  }

  function drawAll() {
    if (controls) drawFigures();
    drawOthers();
  }

  controls?.addEventListener("change", drawFigures);
  controls?.addEventListener("reset", () => setTimeout(drawFigures));
  controls?.addEventListener("submit", (event) => event.preventDefault());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  drawAll();
})();
