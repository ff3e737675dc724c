// The outline of some labels: marching squares on the label map, smoothed by its neighbours.

const HALF = 0.5;
const [TOP, RIGHT, BOTTOM, LEFT] = [0, 1, 2, 3];
// Which edges of a cell a line joins, by the corners inside (1 top left, 2 top right, 4 bottom right, 8 bottom left);
// always with the inside on the same hand, so that the end in one cell is the start in the next.
const LINES = [
  [], [[TOP, LEFT]], [[RIGHT, TOP]], [[RIGHT, LEFT]], [[BOTTOM, RIGHT]], [[TOP, LEFT], [BOTTOM, RIGHT]],
  [[BOTTOM, TOP]], [[BOTTOM, LEFT]], [[LEFT, BOTTOM]], [[TOP, BOTTOM]], [[RIGHT, TOP], [LEFT, BOTTOM]],
  [[RIGHT, BOTTOM]], [[LEFT, RIGHT]], [[TOP, RIGHT]], [[LEFT, TOP]], [],
];

/** A closed path around `members` of a label map, in pixels from its corner. */
export function contour(labels, rows, columns, members) {
  const path = new Path2D();
  for (const line of outlines(labels, rows, columns, members)) {
    line.forEach(([x, y], number) => path[number === 0 ? "moveTo" : "lineTo"](x, y));
    path.closePath();
  }
  return path;
}

/** The same as lists of [x, y]. */
export function outlines(labels, rows, columns, members) {
  const { field, wide, tall, left, top } = smoothed(labels, rows, columns, members);
  const follows = new Map(), passed = new Set();
  // An edge is known by the corner at its start: even numbers lie along a row, odd ones along a column.
  const edge = (at, side) => {
    const corner = side === BOTTOM ? at + wide : side === RIGHT ? at + 1 : at;
    return 2 * corner + (side === LEFT || side === RIGHT ? 1 : 0);
  };
  const point = (number) => {
    const from = number >> 1, to = from + (number & 1 ? wide : 1);
    const share = (HALF - field[from]) / (field[to] - field[from]);
    const [x, y] = [left + (from % wide), top + Math.floor(from / wide)];
    return number & 1 ? [x, y + share] : [x + share, y];
  };
  for (let y = 0; y < tall - 1; y += 1) {
    for (let x = 0; x < wide - 1; x += 1) {
      const at = y * wide + x;
      const corners = [field[at], field[at + 1], field[at + wide + 1], field[at + wide]];
      const which = corners.reduce((sum, value, corner) => sum + (value > HALF ? 1 << corner : 0), 0);
      for (const [from, to] of LINES[which]) {
        follows.set(edge(at, from), edge(at, to));
      }
    }
  }
  const lines = [];
  for (const start of follows.keys()) {
    const line = [];
    for (let number = start; !passed.has(number); number = follows.get(number)) {
      passed.add(number);
      line.push(point(number));
    }
    if (line.length > 0) {
      lines.push(line);
    }
  }
  return lines;
}

function smoothed(labels, rows, columns, members) {
  let first = rows, last = -1, near = columns, far = -1;
  const inside = (row, column) => members.includes(labels[row * columns + column]);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      if (inside(row, column)) {
        first = Math.min(first, row);
        last = Math.max(last, row);
        near = Math.min(near, column);
        far = Math.max(far, column);
      }
    }
  }
  if (last < 0) {
    return { field: new Float32Array(0), wide: 0, tall: 0, left: 0, top: 0 };
  }
  // Two rows and columns of nothing around it, so that every outline closes, at the edge of the slice too.
  const wide = far - near + 5, tall = last - first + 5;
  const flat = new Float32Array(wide * tall), field = new Float32Array(wide * tall);
  for (let row = first; row <= last; row += 1) {
    for (let column = near; column <= far; column += 1) {
      flat[(row - first + 2) * wide + column - near + 2] = inside(row, column) ? 1 : 0;
    }
  }
  for (let y = 1; y < tall - 1; y += 1) {
    for (let x = 1; x < wide - 1; x += 1) {
      const at = y * wide + x;
      field[at] = (4 * flat[at] + 2 * (flat[at - 1] + flat[at + 1] + flat[at - wide] + flat[at + wide])
        + flat[at - wide - 1] + flat[at - wide + 1] + flat[at + wide - 1] + flat[at + wide + 1]) / 16;
    }
  }
  // Values stand at the pixels' centres.
  return { field, wide, tall, left: near - 1.5, top: first - 1.5 };
}
