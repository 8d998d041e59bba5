// Drawing on a canvas: sizes in CSS pixels, colours of a value, numbers along an axis.

export const FONT = "12px system-ui, sans-serif";

export function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.aspectRatio = `${width} / ${height}`; // printed at another width it keeps its shape
  const pen = canvas.getContext("2d");
  pen.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

export function colourOf(stops, share) {
  return stops[Math.round(Math.min(1, Math.max(0, share)) * (stops.length - 1))];
}

// The colours of a quantity's values and what share of them a value is; signed values are white at 0.
export function scaleOf(colours, high, signed = false) {
  const stops = signed ? colours.signed : colours.map, top = high || 1;
  return {
    stops,
    low: signed ? -top : 0,
    high: top,
    colour: (value) => (!Number.isFinite(value) ? colours.undefined : colourOf(stops, signed ? (value / top + 1) / 2 : value / top)),
  };
}

// Every n-th number, so that at most `most` of `count` are written.
export function thinned(count, most) {
  let step = 1;
  for (const factor of [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]) {
    step = factor;
    if (Math.ceil(count / factor) <= most) break;
  }
  return Array.from({ length: Math.ceil(count / step) }, (_, n) => n * step);
}

// A frame that is seen on any colour.
export function frame(pen, left, top, width, height, inner = "#fff", outer = "#000") {
  pen.lineWidth = 4; pen.strokeStyle = outer; pen.strokeRect(left, top, width, height);
  pen.lineWidth = 2; pen.strokeStyle = inner; pen.strokeRect(left, top, width, height);
}
