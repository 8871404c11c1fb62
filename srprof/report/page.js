"use strict";
// What a report shows: the figures of all models, and those of the one that the reader chooses.

(() => {
  const { data: record, byId, element } = Charts;

  const chosen = (id, fallback) => {
    const box = byId(id);
    if (!box) return fallback;
    box.parentElement.dataset.chosen = box.options[box.selectedIndex].text; // for print
    return Number(box.value);
  };

  /** What bounds a model's time and what could be saved, in the words of the record's view. */
  const showSpent = (spent) => {
    const box = byId("spent");
    if (!box || !spent) return;
    byId("bounds").textContent = spent.bounds.join("; ");
    byId("bounds").hidden = !spent.bounds.length;
    box.querySelector("ul").replaceChildren(...spent.avoidable.map((text) => element("li", text)));
    box.hidden = !spent.avoidable.length;
  };

  const showHeld = (model) => {
    const box = byId("plot-held");
    if (!box) return;
    box.parentElement.hidden = !model.held.length;
    byId("none-held").hidden = model.held.length > 0;
    Charts.held("plot-held", model);
  };

  const showModel = () => {
    const [i, j] = [chosen("choose-model", 0), chosen("choose-device", 0)];
    const model = record.models[i];
    const device = model.devices[j];
    for (const place of document.querySelectorAll(".model-name")) place.textContent = model.name;
    if (byId("plot-memory")) Charts.memory("plot-memory", model, device);
    showHeld(model);
    if (byId("plot-roofline") && device) Charts.roofline("plot-roofline", model, device);
    if (byId("plot-modules") && device) Charts.modules("plot-modules", model, device);
    showSpent(record.spent[i][j]);
    Charts.nodes("nodes-table", model, device);
  };

  for (const id of ["choose-model", "choose-device"]) {
    if (byId(id)) byId(id).addEventListener("change", showModel);
  }
  for (const bubbles of record.bubbles) Charts.bubbles(bubbles.id, bubbles.points, bubbles.what);
  if (byId("plot-peaks")) {
    const names = record.peaks.map((peak) => peak.name).join(", ");
    Charts.bars("plot-peaks", `Peak memory of ${record.models.length} models: ${names}.`, {
      title: "peak memory (MiB)",
      categories: record.models.map((model) => model.name),
      series: record.peaks.map((peak) => ({
        name: peak.name,
        values: record.models.map((model) => model.peak[peak.name] / peak.factor),
        ...record.paints[peak.name],
      })),
    });
  }
  record.figures.forEach((figure, i) => {
    if (figure.kind !== "memory") return;
    figure.models.forEach((model, j) =>
      Charts.memory(`plot-figure-${i}-${j}`, model, undefined, figure.unit),
    );
  });
  if (byId("choose-model")) showModel();
})();
