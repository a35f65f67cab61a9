// Which part of a picture a canvas shows: wheel, fingers, mouse and keys move it.

const MOST = 16;
const STEP = 1.4;

export class Zoom {
  scale = 1;
  /** Of the canvas, in shares of its sides: what lies at its left upper corner. */
  left = 0;
  top = 0;
  #pointers = new Map();

  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.#pointers.delete(event.pointerId));
    }
    canvas.addEventListener("dblclick", (event) => {
      if (this.scale > 1) this.reset();
      else this.by(STEP * STEP, this.#share(event));
    });
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  reset() {
    this.#set(1, 0, 0);
  }

  /** Enlarge around a point, given in shares of the canvas. */
  by(factor, [x, y] = [0.5, 0.5]) {
    const scale = Math.min(MOST, Math.max(1, this.scale * factor));
    this.#set(scale, this.left + x / this.scale - x / scale, this.top + y / this.scale - y / scale);
  }

  /** Shares of the picture -> shares of the canvas. */
  toCanvas([x, y]) {
    return [(x - this.left) * this.scale, (y - this.top) * this.scale];
  }

  /** The place of an event, in shares of the picture. */
  toPicture(event) {
    const [x, y] = this.#share(event);
    return [this.left + x / this.scale, this.top + y / this.scale];
  }

  #set(scale, left, top) {
    const most = 1 - 1 / scale;
    this.scale = scale;
    this.left = Math.min(most, Math.max(0, left));
    this.top = Math.min(most, Math.max(0, top));
    // Unzoomed, a finger scrolls the page; zoomed, it moves the picture.
    this.canvas.style.touchAction = scale > 1 ? "none" : "pan-y";
    this.canvas.classList.toggle("zoomed", scale > 1);
    this.onChange();
  }

  #share(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  }

  #wheel(event) {
    // Without a key the wheel is the page's, until somebody has turned to the picture.
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== this.canvas) return;
    event.preventDefault();
    this.by(Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 400)), this.#share(event));
  }

  #down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#share(event));
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = this.#share(event);
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, now);
    if (other) {
      const distance = ([x, y]) => Math.hypot(x - other[0], y - other[1]);
      this.by(distance(now) / Math.max(distance(before), 1e-3), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    } else if (this.scale > 1) {
      this.#set(
        this.scale,
        this.left - (now[0] - before[0]) / this.scale,
        this.top - (now[1] - before[1]) / this.scale,
      );
    }
  }

  #key(event) {
    const step = 0.1 / this.scale;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "+" || event.key === "=") this.by(STEP);
    else if (event.key === "-") this.by(1 / STEP);
    else if (event.key === "0") this.reset();
    else if (moves[event.key] && this.scale > 1) {
      this.#set(this.scale, this.left + moves[event.key][0], this.top + moves[event.key][1]);
    } else return;
    event.preventDefault();
  }
}
