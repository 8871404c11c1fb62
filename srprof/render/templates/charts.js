"use strict";
// Draws a page's figures and its table of nodes. Names in the data come from models: they reach the
// page as text only, and Plotly, which reads some HTML, gets them escaped.

const Charts = (() => {
  const data = JSON.parse(document.getElementById("record").textContent);
  const MIB = 2 ** 20;
  const PARTS = [
    // Okabe and Ito's colours; what is held is hatched too.
    ["net", "var(--net)", "parameters and buffers"],
    ["kept", "#009E73", "older, needed later"],
    ["input", "#56B4E9", "read by this node"],
    ["output", "#0072B2", "created by this node"],
    ["held", "#D55E00", "needed by nothing, still referenced"],
    ["workspace", "#CC79A7", "scratch inside the node"],
  ];
  const plots = new Map(); // element -> () => [traces, layout]

  // -- small helpers ---------------------------------------------------------------------------

  const byId = (id) => document.getElementById(id);
  const escaped = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const mib = (bytes) => (bytes / MIB).toFixed(2);
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const color = (value) => (value.startsWith("var(") ? variable(value.slice(4, -1)) : value);
  const ink = (value) => (value === "#000000" ? variable("--ink") : color(value));
  const narrow = () => window.innerWidth < 600;
  const place = (file, line) => (file ? `${file}:${line}` : "");

  /** A table's rows as objects, by the names of its columns. */
  const objects = (table) =>
    table.rows.map((row) => Object.fromEntries(table.columns.map((name, i) => [name, row[i]])));

  const element = (tag, text, className) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // -- drawing ---------------------------------------------------------------------------------

  const axis = (title, more) => ({
    title: { text: title, standoff: 8 },
    gridcolor: variable("--line"),
    linecolor: variable("--line"),
    zerolinecolor: variable("--line"),
    automargin: true,
    ...more,
  });

  const layout = (more) => ({
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: narrow() ? 11 : 13, color: variable("--ink") },
    margin: { l: 10, r: 10, t: 10, b: 10 },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: narrow() ? 10 : 12 } },
    modebar: {
      bgcolor: "rgba(0,0,0,0)",
      color: variable("--soft"),
      activecolor: variable("--ink"),
    },
    hoverlabel: {
      align: "left",
      bgcolor: variable("--band"),
      bordercolor: variable("--line"),
      font: { color: variable("--ink"), size: 12 },
    },
    ...more,
  });

  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: "hover",
    showSendToCloud: false, // nothing leaves the page
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };

  const print = window.matchMedia("print");
  const PAPER = 680; // pixels: what fits on A4 and on Letter between the usual margins

  const paint = (box) => {
    const [traces, more] = plots.get(box)();
    box.style.height = `${more.height}px`;
    if (print.matches || "printing" in box.dataset) more.width = PAPER;
    Plotly.react(box, traces, layout(more), config);
    box.dataset.drawn = "";
  };

  // A figure is drawn when it comes near the screen: a page of thirty opens as fast as one of two.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting) {
          watcher.unobserve(target);
          paint(target);
        }
      }
    },
    { rootMargin: "300px" },
  );

  /** Draw into an element when it is seen, and again whenever the colours change. */
  const draw = (id, label, make) => {
    const box = byId(id);
    if (!box) return;
    box.setAttribute("role", "group"); // and no image: its toolbar and legend are for use
    box.setAttribute("aria-label", label);
    plots.set(box, make);
    if ("drawn" in box.dataset) paint(box);
    else watcher.observe(box);
  };

  const redraw = (all) => {
    for (const box of plots.keys()) {
      if (box.offsetParent && (all || "drawn" in box.dataset)) paint(box);
    }
  };

  // -- memory over nodes -----------------------------------------------------------------------

  const hovered = (model, node, time) => {
    const lines = [
      `<b>${node.index} ${escaped(node.op)}</b>${node.inplace ? " in place" : ""}`,
      escaped(node.module || "(the model)"),
      escaped(place(node.file, node.line)),
      `shape ${node.shape.join("x")}`,
    ];
    const total = model.net + node.input + node.output + node.kept + node.held;
    lines.push(`eager ${mib(total)} MiB = net ${mib(model.net)}`);
    lines.push(
      `+ input ${mib(node.input)} + output ${mib(node.output)} + kept ${mib(node.kept)}` +
        ` + held ${mib(node.held)}`,
    );
    lines.push(
      `allocated at its end ${mib(node.allocated)} MiB; workspace ` +
        (node.workspace === null ? "not known" : `${mib(node.workspace)} MiB`),
    );
    if (time) lines.push(`predicted ${time.us.toPrecision(4)} µs, bound: ${time.bound}`);
    return lines.filter((line) => line).join("<br>");
  };

  /** The stacked parts of one model; `unit` is "MiB" or "feature maps". */
  const memoryPlot = (id, model, device, unit = "MiB") => {
    const nodes = objects(model.nodes);
    const times = device && device.nodes ? objects(device.nodes) : [];
    const one = unit === "MiB" ? MIB : model.map;
    const x = nodes.map((node) => node.index);
    const net = unit === "MiB" ? model.net : 0;
    const values = {
      net: nodes.map(() => net),
      ...Object.fromEntries(
        ["input", "output", "kept", "held", "workspace"].map((part) => [
          part,
          nodes.map((node) => node[part] ?? 0),
        ]),
      ),
    };
    const eager = nodes.map((node) => net + node.input + node.output + node.kept + node.held);
    const peak = eager.reduce((best, value, i) => (value > eager[best] ? i : best), 0);
    const most = unit === "MiB" ? Math.max(0, ...nodes.map((node) => node.allocated)) : 0;
    const text = nodes.map((node, i) => hovered(model, node, times[i]));
    const unknown = nodes.filter((node) => node.workspace === null).length;
    const label =
      `Memory of ${model.name} over ${nodes.length} nodes in ${unit}; the eager peak is ` +
      `${(eager[peak] / one).toFixed(2)} at node ${peak} ${nodes[peak] ? nodes[peak].op : ""}.`;
    draw(id, label, () => {
      const traces = PARTS.filter(
        ([part]) => values[part].some((value) => value > 0) && !(part === "net" && !net),
      ).map(([part, paint, meaning]) => ({
        type: "scatter",
        mode: "lines",
        name: part === "workspace" && unknown ? `workspace (unknown in ${unknown} nodes)` : part,
        x,
        y: values[part].map((value) => value / one),
        stackgroup: "parts",
        line: { width: 0, shape: "hvh" },
        fillcolor: color(paint),
        fillpattern:
          part === "held"
            ? { shape: "/", size: 8, solidity: 0.2, bgcolor: paint, fgcolor: variable("--paper") }
            : undefined,
        hoverinfo: "skip",
        meta: meaning,
      }));
      traces.push({
        type: "scatter",
        mode: "lines",
        name: "eager",
        x,
        y: eager.map((value) => value / one),
        line: { width: 1.5, color: variable("--ink"), shape: "hvh" },
        text,
        hovertemplate: "%{text}<extra></extra>",
      });
      if (unit === "MiB") {
        traces.push({
          type: "scatter",
          mode: "lines",
          name: "allocated",
          x,
          y: nodes.map((node) => node.allocated / one),
          line: { width: 1.2, dash: "dot", color: variable("--ink"), shape: "hvh" },
          hoverinfo: "skip",
        });
      }
      const right = peak > nodes.length * 0.6;
      return [
        traces,
        {
          height: narrow() ? 380 : 440,
          hovermode: "x",
          xaxis: axis("node, in the order of the run", nodes.length < 12 ? { dtick: 1 } : {}),
          yaxis: axis(unit === "MiB" ? "memory (MiB)" : "memory (feature maps, without net)", {
            range: [0, (1.1 * Math.max(eager[peak] ?? 0, most)) / one],
          }),
          annotations: nodes.length
            ? [
                {
                  x: x[peak],
                  y: eager[peak] / one,
                  text: `peak ${(eager[peak] / one).toFixed(2)}`,
                  showarrow: true,
                  arrowhead: 2,
                  arrowcolor: variable("--ink"),
                  ax: right ? -60 : 60,
                  ay: -8,
                  bgcolor: variable("--paper"),
                  borderpad: 2,
                },
              ]
            : [],
        },
      ];
    });
  };

  // -- runtime against memory ------------------------------------------------------------------

  /** Bubbles: {name, x ms, y MiB, params, place, faint}. */
  const bubblePlot = (id, points, what) => {
    const most = Math.max(...points.map((point) => point.params)) || 1;
    const size = (point) => 8 + 40 * Math.sqrt(point.params / most);
    const trace = (name, chosen, faint) => ({
      type: "scatter",
      mode: faint ? "markers" : "markers+text",
      name,
      x: chosen.map((point) => point.x),
      y: chosen.map((point) => point.y),
      text: chosen.map((point) => escaped(point.name)),
      textposition: chosen.map((point) => point.place || "top center"),
      cliponaxis: false,
      customdata: chosen.map((point) => (point.params / 1e6).toFixed(3)),
      hovertemplate:
        "<b>%{text}</b><br>%{x:.2f} ms<br>%{y:.2f} MiB<br>%{customdata} M params<extra></extra>",
      marker: {
        size: chosen.map(size),
        color: faint ? variable("--net") : variable("--accent"),
        opacity: faint ? 0.35 : 0.7,
        line: { width: 1, color: variable("--paper") },
      },
    });
    draw(id, `${what}: runtime against memory of ${points.length} networks.`, () => {
      const faint = points.filter((point) => point.faint);
      const own = points.filter((point) => !point.faint);
      const traces = [];
      if (faint.length) traces.push(trace("other published entries", faint, true));
      traces.push(trace("this report", own, false));
      return [
        traces,
        {
          height: narrow() ? 340 : 420,
          showlegend: faint.length > 0,
          xaxis: axis("runtime (ms)", { range: [0, 1.12 * Math.max(...points.map((p) => p.x))] }),
          yaxis: axis("memory (MiB)", { range: [0, 1.15 * Math.max(...points.map((p) => p.y))] }),
        },
      ];
    });
  };

  // -- bars ------------------------------------------------------------------------------------

  /** Bars by category: {title, categories, series: [{name, values, color, pattern}], flat, limit}. */
  const barsPlot = (id, label, chart) => {
    const flat = Boolean(chart.flat);
    // an index keeps two bars apart that read alike
    const names = chart.categories.map((name, i) => escaped(name) + "\u200b".repeat(i));
    const value = flat ? "%{x:.2f}" : "%{y:.2f}";
    draw(id, label, () => [
      chart.series.map(({ name, values, color: paint, pattern }) => ({
        type: "bar",
        orientation: flat ? "h" : "v",
        name: escaped(name),
        [flat ? "y" : "x"]: names,
        [flat ? "x" : "y"]: values,
        marker: {
          color: paint,
          pattern: { shape: pattern, solidity: 0.25, bgcolor: paint, fgcolor: variable("--paper") },
        },
        hovertemplate: `${flat ? "%{y}" : "%{x}"}<br>${escaped(name)} ${value}<extra></extra>`,
      })),
      {
        height: flat ? 110 + 26 * names.length * chart.series.length : narrow() ? 340 : 400,
        barmode: "group",
        showlegend: chart.series.length > 1,
        [flat ? "yaxis" : "xaxis"]: axis("", {
          type: "category",
          autorange: flat ? "reversed" : true,
          tickfont: { size: narrow() ? 9 : 12 },
        }),
        [flat ? "xaxis" : "yaxis"]: axis(chart.title, { rangemode: "tozero" }),
        shapes: chart.limit
          ? [
              {
                type: "line",
                line: { color: variable("--ink"), width: 1.5, dash: "dash" },
                ...(flat
                  ? { x0: chart.limit, x1: chart.limit, yref: "paper", y0: 0, y1: 1 }
                  : { y0: chart.limit, y1: chart.limit, xref: "paper", x0: 0, x1: 1 }),
              },
            ]
          : [],
      },
    ]);
  };

  // -- two runs over their nodes ----------------------------------------------------------------

  /** Steps over nodes: {title, series: [{name, values, texts, color, dash}]}. */
  const linesPlot = (id, label, chart) =>
    draw(id, label, () => [
      chart.series.map(({ name, values, texts, color: paint, dash }) => ({
        type: "scatter",
        mode: "lines",
        name: escaped(name),
        x: values.map((_, i) => i),
        y: values,
        line: { width: 1.8, color: color(paint), dash, shape: "hvh" },
        text: texts.map(escaped),
        hovertemplate: `${escaped(name)}: %{text}<br>%{y:.2f}<extra></extra>`,
      })),
      {
        height: narrow() ? 340 : 400,
        hovermode: "closest",
        xaxis: axis("node, in the order of the run"),
        yaxis: axis(chart.title, { rangemode: "tozero" }),
      },
    ]);

  // -- one model -------------------------------------------------------------------------------

  const heldPlot = (id, model) => {
    const held = model.held.slice(0, 20).reverse();
    const names = held.map((h, i) =>
      // an index keeps two bars apart that read alike
      escaped(`${h.variable}  ${place(h.file, h.line) || h.function}`) + "​".repeat(i),
    );
    const label = `Memory held at the eager peak of ${model.name}, by variable and line.`;
    if (!held.length) return;
    draw(id, label, () => [
      [
        {
          type: "bar",
          orientation: "h",
          name: "holds",
          y: names,
          x: held.map((h) => h.bytes / MIB),
          marker: { color: "#D55E00" },
          customdata: held.map((h) => [escaped(h.function), mib(h.saving), mib(h.peak_after)]),
          hovertemplate:
            "%{y}<br>in %{customdata[0]}<br>holds %{x:.2f} MiB<br>saves alone %{customdata[1]} MiB" +
            "<br>peak once it and all above it let go %{customdata[2]} MiB<extra></extra>",
        },
      ],
      {
        height: 110 + 26 * held.length,
        showlegend: false,
        xaxis: axis("held (MiB)", { rangemode: "tozero" }),
        yaxis: axis("", { tickfont: { size: narrow() ? 9 : 12 } }),
      },
    ]);
  };

  const rooflinePlot = (id, model, device) => {
    const nodes = objects(model.nodes);
    const placed = objects(device.nodes)
      .map((time, i) => ({ ...time, node: nodes[i] }))
      .filter((point) => point.intensity !== null)
      .sort((a, b) => b.us - a.us);
    const slowest = placed.length ? placed[0].us : 1;
    const families = [...new Set(placed.map((point) => point.family))];
    const peaks = Object.entries(device.peaks);
    const label =
      `Roofline of ${model.name}: ${placed.length} nodes, ` +
      `${device.predicted_ms.toFixed(2)} ms predicted on ${device.device}.`;
    draw(id, label, () => {
      const traces = families.map((family) => {
        const members = placed.filter((point) => point.family === family);
        const look = data.looks[family];
        const total = members.reduce((sum, point) => sum + point.us, 0) / 1000;
        return {
          type: "scatter",
          mode: "markers",
          name: `${look.label}, ${total.toFixed(2)} ms`,
          x: members.map((point) => point.intensity),
          y: members.map((point) => point.speed),
          text: members.map((point) => hovered(model, point.node, point)),
          hovertemplate: "%{text}<extra></extra>",
          marker: {
            size: members.map((point) => 5 + 25 * Math.sqrt(point.us / slowest)),
            symbol: look.symbol,
            color: ink(look.color),
            opacity: 0.65,
            line: { width: 1, color: variable("--paper") },
          },
        };
      });
      const xs = placed.map((point) => point.intensity);
      const highest = Math.max(...peaks.map(([, value]) => value));
      const ridge = Math.min(...peaks.map(([, value]) => value)) / device.bandwidths.memory;
      const left = Math.min(ridge, ...xs) / 8;
      const right = Math.max(ridge, ...xs) * 8;
      const line = (name, x, y, dash) => ({
        type: "scatter",
        mode: "lines",
        name,
        x,
        y,
        line: { color: variable("--ink"), width: 1.5, dash },
        hovertemplate: `${name}<extra></extra>`,
        showlegend: false,
      });
      for (const [name, bandwidth] of Object.entries(device.bandwidths)) {
        const dash = name === "memory" ? "solid" : "dash";
        const title = `${name} ${(bandwidth / 1e9).toFixed(0)} GB/s`;
        traces.push(line(title, [left, highest / bandwidth], [bandwidth * left, highest], dash));
      }
      for (const [mode, peak] of peaks) {
        const title = `${mode} ${(peak / 1e12).toPrecision(4)} TFLOP/s`;
        traces.push(line(title, [peak / device.bandwidths.memory, right], [peak, peak], "solid"));
      }
      const note = (text, x, y, more) => ({
        text, x: Math.log10(x), y: Math.log10(y), showarrow: false, ...more,
      });
      return [
        traces,
        {
          height: narrow() ? 460 : 520,
          hovermode: "closest",
          xaxis: axis("arithmetic intensity (operations / byte)", { type: "log", dtick: 1 }),
          yaxis: axis("speed (operations / s)", { type: "log", dtick: 1, exponentformat: "power" }),
          annotations: [
            ...Object.entries(device.bandwidths).map(([name, bandwidth]) =>
              note(`${name} ${(bandwidth / 1e9).toFixed(0)} GB/s`, left * 1.2, bandwidth * left * 1.2, {
                xanchor: "left", yanchor: "top", xshift: 6,
              }),
            ),
            ...peaks.map(([mode, peak]) =>
              note(`${mode} ${(peak / 1e12).toPrecision(4)} TFLOP/s`, right / 1.2, peak, {
                xanchor: "right", yanchor: "bottom",
              }),
            ),
          ],
        },
      ];
    });
  };

  const modulesPlot = (id, model, device) => {
    const modules = Object.entries(device.modules);
    const families = [...new Set(modules.flatMap(([, times]) => Object.keys(times)))];
    const names = modules.map(([path]) => escaped(path || "(the model itself)"));
    const label = `Predicted time of ${model.name} by module on ${device.device}.`;
    draw(id, label, () => [
      families.map((family) => ({
        type: "bar",
        orientation: "h",
        name: data.looks[family].label,
        y: names,
        x: modules.map(([, times]) => times[family] || 0),
        marker: { color: ink(data.looks[family].color) },
        hovertemplate: `%{y}<br>${data.looks[family].label} %{x:.3f} ms<extra></extra>`,
      })),
      {
        height: 140 + 24 * modules.length,
        barmode: "stack",
        xaxis: axis("predicted time (ms)"),
        yaxis: axis("", { autorange: "reversed", type: "category" }),
      },
    ]);
  };

  // -- the table of nodes ----------------------------------------------------------------------

  const number = (value, digits) => (value === null ? "-" : value.toFixed(digits));
  const inMib = (key) => ({ numeric: true, value: (n) => n[key], text: (n) => (n[key] === null ? "-" : mib(n[key])) });
  const COLUMNS = [
    ["node", { numeric: true, value: (n) => n.index, text: (n) => String(n.index) }],
    ["op", { value: (n) => n.op }],
    ["module", { value: (n) => n.module }],
    ["line", { value: (n) => place(n.file, n.line) }],
    ["shape", { value: (n) => n.shape.join("x") }],
    ["eager MiB", { numeric: true, value: (n) => n.eager, text: (n) => mib(n.eager) }],
    ["input", inMib("input")],
    ["output", inMib("output")],
    ["kept", inMib("kept")],
    ["held", inMib("held")],
    ["workspace", inMib("workspace")],
    ["allocated", inMib("allocated")],
    ["GMACs", { numeric: true, value: (n) => n.macs, text: (n) => (n.macs === null ? "-" : (n.macs / 1e9).toFixed(4)) }],
  ];
  const TIMED = [
    ["µs", { numeric: true, value: (n) => n.us, text: (n) => number(n.us, 2) }],
    ["bound", { value: (n) => n.bound }],
  ];

  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null) return 1; // what is not known comes last
    if (b === null) return -1;
    return a < b ? -1 : 1;
  };

  /** The table in the element, with a field to filter it and a count, named `ID-filter`, `ID-count`. */
  const nodesTable = (id, model, device) => {
    const box = byId(id);
    if (!box) return;
    const columns = device && device.nodes ? [...COLUMNS, ...TIMED] : COLUMNS;
    const times = device && device.nodes ? objects(device.nodes) : [];
    const rows = objects(model.nodes).map((node, i) => {
      const whole = { ...node, ...times[i] };
      whole.eager = model.net + node.input + node.output + node.kept + node.held;
      const row = element("tr");
      for (const [, column] of columns) {
        const text = column.text ? column.text(whole) : column.value(whole);
        row.append(element("td", text, column.numeric ? "number" : ""));
      }
      return { whole, row, words: row.textContent.toLowerCase() };
    });
    rows.forEach((entry) => {
      const { whole } = entry;
      entry.words = [whole.op, whole.module, place(whole.file, whole.line), whole.bound || ""]
        .join(" ").toLowerCase();
    });
    const table = element("table");
    const head = element("tr");
    const body = element("tbody");
    let sorted = { name: "node", down: false };
    const filter = byId(`${id}-filter`);

    const fill = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      const shown = rows.filter((entry) => words.every((word) => entry.words.includes(word)));
      body.replaceChildren(...shown.map((entry) => entry.row));
      byId(`${id}-count`).textContent = `${shown.length} of ${rows.length} nodes`;
    };
    const sort = (name) => {
      const column = columns.find(([title]) => title === name)[1];
      // numbers first from the largest, words from A
      const first = Boolean(column.numeric) && name !== "node";
      sorted = { name, down: sorted.name === name ? !sorted.down : first };
      rows.sort((a, b) => {
        const [left, right] = [column.value(a.whole), column.value(b.whole)];
        const order = compare(left, right);
        const known = left !== null && right !== null;
        return (known && sorted.down ? -order : order) || a.whole.index - b.whole.index;
      });
      for (const cell of head.children) {
        const direction = sorted.down ? "descending" : "ascending";
        cell.setAttribute("aria-sort", cell.dataset.name === name ? direction : "none");
      }
      fill();
    };
    for (const [name, column] of columns) {
      const cell = element("th", undefined, column.numeric ? "number" : "");
      cell.scope = "col";
      cell.dataset.name = name;
      cell.setAttribute("aria-sort", name === "node" ? "ascending" : "none");
      const button = element("button", name);
      button.type = "button";
      button.addEventListener("click", () => sort(name));
      cell.append(button);
      head.append(cell);
    }
    const top = element("thead");
    top.append(head);
    table.append(top, body);
    filter.oninput = fill;
    box.replaceChildren(table);
    fill();
  };

  // -- the page's colours and paper -----------------------------------------------------------

  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(false));
  // Paper shows every figure, in its own colours and width. Not every browser has changed its media
  // when it says that it is about to print.
  const printing = (now) => {
    for (const box of plots.keys()) {
      if (now) box.dataset.printing = "";
      else delete box.dataset.printing;
    }
    redraw(now);
  };
  print.addEventListener("change", () => printing(print.matches));
  window.addEventListener("beforeprint", () => printing(true));
  window.addEventListener("afterprint", () => printing(false));

  return {
    data, byId, element,
    memory: memoryPlot, held: heldPlot, roofline: rooflinePlot, modules: modulesPlot,
    nodes: nodesTable, bubbles: bubblePlot, bars: barsPlot, lines: linesPlot,
  };
})();
