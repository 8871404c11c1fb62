"use strict";
// Draws the charts of a command's result: each names its kind, its element, and what it is of.

(() => {
  const { data, byId } = Charts;
  for (const { kind, id, label, of, chart } of data.charts) {
    const model = of === null ? undefined : data.subjects[of];
    if (kind === "bars" || kind === "lines") Charts[kind](id, label, chart);
    else if (kind === "roofline" || kind === "modules") Charts[kind](id, model, model.devices[0]);
    else Charts[kind](id, model, model.devices[0]);
    if (byId(`${id}-tools`)) byId(`${id}-tools`).hidden = false;
  }
})();
