// The volume curve and the latency strip.

import { fitted } from "./mosaic.js";

const SPAN_S = 10;
const BARS = 110;
const AXIS = 40, HEAD = 8, FOOT = 20;
const GAP_S = 1;
const SHORT = 10;
const VENTRICLES = ["lv", "rv"];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
}

function ticks(high, most = 4) {
  let step = 10 ** Math.floor(Math.log10(high / most));
  step *= [1, 2, 5, 10].find((factor) => high / (factor * step) <= most);
  return Array.from({ length: Math.floor(high / step + 1e-9) + 1 }, (_, number) => number * step);
}

function axes(context, width, height, high) {
  const y = (value) => height - FOOT - (value / high) * (height - FOOT - HEAD);
  context.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of ticks(high)) {
    context.fillStyle = colour("dim");
    context.fillText(String(Number(value.toPrecision(6))), AXIS - 6, y(value));
    context.fillStyle = colour("rule");
    context.fillRect(AXIS, Math.round(y(value)), width - AXIS, 1);
  }
  return y;
}

function foot(context, words, x, height, align) {
  context.textAlign = align;
  context.fillStyle = colour("dim");
  context.fillText(words, x, height - 8);
}

/** LV and RV in ml; `nowS` is the right edge. Where no mask came for a second the curve has a gap. */
export function drawVolumes(canvas, volumes, nowS, colours) {
  const { context, width, height } = fitted(canvas);
  const points = volumes.filter(([at]) => nowS - at <= SPAN_S && at <= nowS);
  const high = Math.max(10, ...points.flatMap(([, lv, rv]) => [lv, rv])) * 1.1;
  const y = axes(context, width, height, high);
  const room = width - AXIS - 30;
  const x = (at) => AXIS + room * (1 - (nowS - at) / SPAN_S);
  foot(context, `${SPAN_S} s ago`, AXIS, height, "left");
  foot(context, "now", AXIS + room, height, "right");
  const ends = [];
  VENTRICLES.forEach((name, which) => {
    context.strokeStyle = context.fillStyle = `rgb(${colours[name].join(" ")})`;
    context.lineWidth = 2;
    context.lineJoin = "round";
    // The RV is dashed: the two are told apart without colour too.
    context.setLineDash(name === "rv" ? [6, 4] : []);
    context.beginPath();
    points.forEach((point, number) => {
      const gap = number === 0 || point[0] - points[number - 1][0] > GAP_S;
      context[gap ? "moveTo" : "lineTo"](x(point[0]), y(point[which + 1]));
    });
    context.stroke();
    context.setLineDash([]);
    if (points.length > 0) {
      ends.push({ name, from: x(points.at(-1)[0]) + 5, at: y(points.at(-1)[which + 1]) });
    }
  });
  context.textAlign = "left";
  const [one, other] = ends;
  if (ends.length === 2 && Math.abs(one.at - other.at) < 14) {
    const push = (14 - Math.abs(one.at - other.at)) / 2;
    const upper = one.at <= other.at ? one : other;
    for (const end of ends) {
      end.at += end === upper ? -push : push;
    }
  }
  for (const { name, from, at } of ends) {
    context.fillStyle = `rgb(${colours[name].join(" ")})`;
    context.fillText(name.toUpperCase(), from, at);
  }
}

/** A bar for each of the last answers in the colour of its state: short if dropped, a hairline if failed. */
export function drawStrip(canvas, latencies, budgetMs) {
  const { context, width, height } = fitted(canvas);
  const bars = latencies.slice(-BARS);
  const high = Math.max(1.5 * budgetMs, Math.min(4 * budgetMs, 1.05 * Math.max(0, ...bars.map(([, ms]) => ms))));
  const y = axes(context, width, height, high);
  const step = (width - AXIS) / BARS;
  bars.forEach(([, ms, state], number) => {
    const x = width - (bars.length - number) * step;
    context.fillStyle = colour(state);
    if (state === "dropped") {
      context.fillRect(x, height - FOOT - SHORT, Math.max(1, step - 1), SHORT);
      return;
    }
    if (state === "failed") {
      context.fillRect(x, HEAD, 1, height - FOOT - HEAD);
      return;
    }
    const top = Math.max(HEAD, y(ms));
    context.fillRect(x, top, Math.max(1, step - 1), height - FOOT - top);
    if (ms > 1.001 * high) {
      context.fillRect(x, HEAD - 6, Math.max(1, step - 1), 4);
    }
  });
  context.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  context.strokeStyle = colour("ink");
  context.lineWidth = 1.5;
  context.setLineDash([6, 4]);
  context.beginPath();
  context.moveTo(AXIS, y(budgetMs));
  context.lineTo(width, y(budgetMs));
  context.stroke();
  context.setLineDash([]);
  context.textAlign = "left";
  context.fillStyle = colour("ink");
  context.strokeStyle = colour("paper");
  context.lineWidth = 4;
  context.strokeText(`budget ${budgetMs} ms`, AXIS + 6, y(budgetMs) - 9);
  context.fillText(`budget ${budgetMs} ms`, AXIS + 6, y(budgetMs) - 9);
  foot(context, `last ${BARS} frames`, AXIS, height, "left");
  foot(context, "newest", width, height, "right");
}
