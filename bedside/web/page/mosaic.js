// Slices with their classes: a translucent fill, and contours that stay sharp at any size.

import { contour } from "./contour.js";

const FILL = 0.28 * 255;
const RV = 1, MYO = 2, LV = 3;
// What each contour goes around: the epicardium around muscle and cavity, the endocardium around the cavity.
const CONTOURS = [["rv", [RV]], ["myo", [MYO, LV]], ["lv", [LV]]];

export function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const box = canvas.getBoundingClientRect();
  const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, box.width, box.height);
  return { context, width: box.width, height: box.height };
}

/** Columns, and the size of a tile, for which the tiles are largest. */
export function arrange(count, wideMm, tallMm, width, height) {
  let best = { columns: 1, scale: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const scale = Math.min(width / (columns * wideMm), height / (rows * tallMm));
    if (scale > best.scale) {
      best = { columns, scale };
    }
  }
  return best;
}

const sheets = [0, 1].map(() => document.createElement("canvas"));

function sheet(which, image) {
  const canvas = sheets[which];
  if (canvas.width !== image.width || canvas.height !== image.height) {
    canvas.width = image.width;
    canvas.height = image.height;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

export function drawMosaic(canvas, picture, grey, label, colours) {
  const { context, width, height } = fitted(canvas);
  const [slices, rows, columns] = picture.shape_SYX;
  const [tallMm, wideMm] = [rows * picture.pixel_mm[0], columns * picture.pixel_mm[1]];
  const plan = arrange(slices, wideMm, tallMm, width, height);
  const [wide, tall] = [wideMm * plan.scale, tallMm * plan.scale];
  const left = (width - plan.columns * wide) / 2;
  const top = (height - Math.ceil(slices / plan.columns) * tall) / 2;
  const names = Object.values(colours);
  const size = rows * columns;
  const anatomy = new ImageData(columns, rows), fill = new ImageData(columns, rows);
  context.imageSmoothingQuality = "high";
  for (let slice = 0; slice < slices; slice += 1) {
    const labels = label.subarray(slice * size, (slice + 1) * size);
    for (let at = 0, to = 0; at < size; at += 1, to += 4) {
      const value = grey[slice * size + at], of = labels[at];
      anatomy.data[to] = anatomy.data[to + 1] = anatomy.data[to + 2] = value;
      anatomy.data[to + 3] = 255;
      const colour = of === 0 ? [0, 0, 0] : names[of - 1];
      fill.data[to] = colour[0];
      fill.data[to + 1] = colour[1];
      fill.data[to + 2] = colour[2];
      fill.data[to + 3] = of === 0 ? 0 : FILL;
    }
    const x = left + (slice % plan.columns) * wide, y = top + Math.floor(slice / plan.columns) * tall;
    const box = [x + 1, y + 1, wide - 2, tall - 2];
    context.drawImage(sheet(0, anatomy), ...box);
    context.drawImage(sheet(1, fill), ...box);
    // Dashes say `unsure` where the eye is.
    context.setLineDash(picture.state === "unsure" ? [5, 5] : []);
    context.lineWidth = 2;
    for (const [name, members] of CONTOURS) {
      const path = new Path2D();
      const place = new DOMMatrix([box[2] / columns, 0, 0, box[3] / rows, box[0], box[1]]);
      path.addPath(contour(labels, rows, columns, members), place);
      context.strokeStyle = `rgb(${colours[name].join(" ")})`;
      context.stroke(path);
    }
    context.setLineDash([]);
    caption(context, `slice ${picture.slices[slice]}`, x + 6, y + 17);
  }
}

function caption(context, words, x, y) {
  context.font = "12px system-ui, 'DejaVu Sans', sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "#000";
  context.fillStyle = "#eee";
  context.strokeText(words, x, y);
  context.fillText(words, x, y);
}
