// Numbers: their texts, their means, and how they are packed in a page.

export const defined = (value) => value !== null && value !== undefined && Number.isFinite(value);

export function numberText(value, unit = "") {
  if (!defined(value)) return "not defined";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  return unit ? `${text} ${unit}` : text;
}

export function greatest(values) {
  let most = 0;
  for (const value of values) if (Number.isFinite(value) && value > most) most = value;
  return most;
}

// Sum of the defined values; not defined where there are none.
export function total(values) {
  let sum = 0, count = 0;
  for (const value of values) if (Number.isFinite(value)) { sum += value; count++; }
  return count ? sum : NaN;
}

// Weighted mean or sum over rows; undefined values are left out, as in the Python code.
export function combined(rows, weights, over = "mean") {
  const sum = new Float64Array(rows[0].length), count = new Float64Array(rows[0].length);
  rows.forEach((row, n) => row.forEach((value, cell) => {
    if (!Number.isFinite(value)) return;
    sum[cell] += value * weights[n];
    count[cell] += weights[n];
  }));
  return sum.map((value, cell) => (!count[cell] ? NaN : over === "sum" ? value : value / count[cell]));
}

export function bytesOf(text) {
  const raw = atob(text);
  const found = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) found[n] = raw.charCodeAt(n);
  return found;
}

export const floatsOf = (text) => new Float32Array(bytesOf(text).buffer);

const TOP = { 8: 254, 16: 65534 };

// Rows that packed_numbers.py packed: levels of each row's greatest value.
export class Packed {
  constructor(data) {
    this.columns = data.columns;
    this.top = TOP[data.bits];
    const raw = bytesOf(data.data);
    this.levels = data.bits === 8 ? raw : new Uint16Array(raw.buffer);
    this.scale = floatsOf(data.scale);
  }
  at(row, column) {
    const level = this.levels[row * this.columns + column];
    return level > this.top ? NaN : (level / this.top) * this.scale[row];
  }
  row(number) {
    const found = new Float64Array(this.columns);
    for (let column = 0; column < this.columns; column++) found[column] = this.at(number, column);
    return found;
  }
}
