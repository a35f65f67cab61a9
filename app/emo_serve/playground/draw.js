// A picture with what was found on it, on a canvas.

import { colourOf, css, inkOn } from "./colours.js";
import { classMap } from "./rle.js";
import { percent } from "./dom.js";

const OVERLAY_SIDE = 1024;

/** Fit the canvas' pixels to the place that it takes on this screen; the scale between both. */
export function fitPixels(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return ratio;
}

/** Draw `bitmap` (or an empty ground) and an overlay; `toScreen` maps the picture's [x, y] to canvas pixels. */
export function drawPicture(context, photo, overlay, toScreen) {
  const { canvas } = context;
  context.clearRect(0, 0, canvas.width, canvas.height);
  const [left, top] = toScreen([0, 0]);
  const [right, bottom] = toScreen([photo.width, photo.height]);
  context.imageSmoothingQuality = "high";
  if (photo.bitmap) context.drawImage(photo.bitmap, left, top, right - left, bottom - top);
  if (overlay) {
    context.imageSmoothingEnabled = false;
    context.drawImage(overlay, left, top, right - left, bottom - top);
    context.imageSmoothingEnabled = true;
  }
}

/** Draw boxes, worse ones first so that better ones lie on top, the highlighted one last, with its name and score. */
export function drawBoxes(context, detections, highlighted, toScreen, ratio, withNames = true) {
  const order = [...detections.keys()].reverse().filter((index) => index !== highlighted);
  if (detections[highlighted]) order.push(highlighted);
  for (const index of order) {
    const isDimmed = detections[highlighted] && index !== highlighted;
    drawBox(context, detections[index], { toScreen, ratio, isDimmed, isStrong: index === highlighted, withNames });
  }
  context.globalAlpha = 1;
}

function drawBox(context, detection, { toScreen, ratio, isDimmed, isStrong, withNames }) {
  const colour = colourOf(detection.class_id);
  const [left, top] = toScreen(detection.box);
  const [right, bottom] = toScreen(detection.box.slice(2));
  context.globalAlpha = isDimmed ? 0.35 : 1;
  context.lineJoin = "round";
  context.strokeStyle = "rgb(0 0 0 / 0.45)";
  context.lineWidth = (isStrong ? 5 : 4) * ratio;
  context.strokeRect(left, top, right - left, bottom - top);
  context.strokeStyle = css(colour);
  context.lineWidth = (isStrong ? 3 : 2) * ratio;
  context.strokeRect(left, top, right - left, bottom - top);
  if (isStrong) {
    context.fillStyle = css(colour, 0.16);
    context.fillRect(left, top, right - left, bottom - top);
  }
  if (!withNames || isDimmed) return;
  const text = `${detection.name} ${percent(detection.score)}`;
  context.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  const width = context.measureText(text).width + 12 * ratio;
  const height = 20 * ratio;
  const x = Math.max(0, Math.min(left - ratio, context.canvas.width - width));
  const y = top - height >= 0 ? top - height : Math.max(0, top);
  context.fillStyle = css(colour);
  context.beginPath();
  context.roundRect(x, y, width, height, 4 * ratio);
  context.fill();
  context.fillStyle = inkOn(colour);
  context.textBaseline = "middle";
  context.fillText(text, x + 6 * ratio, y + height / 2 + ratio / 2);
}

/** The areas of a segmentation: which entry lies under a point, and a picture of them to lay over the photo. */
export class Areas {
  constructor({ image, classes }) {
    this.size = image;
    this.classes = classes;
    this.map = classMap(image, classes);
  }

  /** The entry at a pixel; undefined outside. */
  at([x, y]) {
    const { width, height } = this.size;
    if (x < 0 || y < 0 || x >= width || y >= height) return undefined;
    return this.classes[this.map[Math.floor(x) * height + Math.floor(y)] - 1];
  }

  /** The colours of the entries for which `isShown`, the others clear; `strong` is one that stands out. */
  overlay(isShown, strong) {
    const { width, height } = this.size;
    const scale = Math.min(1, OVERLAY_SIDE / Math.max(width, height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(canvas.width, canvas.height);
    const words = new Uint32Array(pixels.data.buffer);
    const colours = new Uint32Array(this.classes.length + 1);
    this.classes.forEach((entry, index) => {
      const alpha = isShown(entry) ? (strong === undefined ? 0.5 : entry === strong ? 0.75 : 0.15) : 0;
      new Uint8Array(colours.buffer, 4 * (index + 1), 4).set([...colourOf(entry.class_id), Math.round(alpha * 255)]);
    });
    for (let y = 0; y < canvas.height; y += 1) {
      const row = Math.min(height - 1, Math.floor((y + 0.5) / scale));
      for (let x = 0; x < canvas.width; x += 1) {
        const column = Math.min(width - 1, Math.floor((x + 0.5) / scale));
        words[y * canvas.width + x] = colours[this.map[column * height + row]];
      }
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }
}
