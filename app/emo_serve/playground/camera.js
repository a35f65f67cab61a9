// The camera: one frame after the other, each asked about once the one before was answered.

import { Problem } from "./api.js";
import { keyOf } from "./store.js";

const WIDEST = 640;
const QUALITY = 0.85;
const REMEMBERED = 12; // frames of which the rate is the mean

export class Camera {
  #stream = null;

  constructor(store, asking) {
    this.store = store;
    this.asking = asking;
  }

  get isOn() {
    return this.#stream !== null;
  }

  /** Ask for frames until `stop`; raises Problem where there is no camera or no permission. */
  async start() {
    if (!navigator.mediaDevices) {
      const detail = "A browser gives the camera only to pages that come over HTTPS or from this machine.";
      throw new Problem({ title: "The camera cannot be used here", detail });
    }
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { width: WIDEST, facingMode: "environment" } });
    } catch (error) {
      throw new Problem({ title: "The camera cannot be used", detail: error.message });
    }
    const video = document.createElement("video");
    Object.assign(video, { srcObject: this.#stream, muted: true, playsInline: true });
    await video.play();
    this.#run(video, this.#stream);
  }

  /** Stop; the last frame stays as a photo. */
  stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.store.live = null;
    for (const photo of this.store.photos) photo.isLive = false;
    this.store.changed();
  }

  async #run(video, stream) {
    const canvas = document.createElement("canvas");
    const photo = { name: "camera.jpg", isLive: true, answers: new Map(), width: 0, height: 0 };
    const ends = [];
    while (this.#stream === stream) {
      const image = await frameOf(video, canvas);
      const models = this.store.picked;
      const answers = await Promise.all(models.map((model) => this.asking.ask(model, image)));
      const bitmap = await createImageBitmap(canvas);
      if (this.#stream !== stream) break;
      photo.bitmap?.close();
      Object.assign(photo, { image, bitmap, width: canvas.width, height: canvas.height });
      photo.answers = new Map(models.map((model, index) => [keyOf(model), answers[index]]));
      if (!this.store.photos.includes(photo)) this.store.photos.unshift(photo);
      if (ends.length === 0) this.store.selected = photo;
      ends.push(performance.now());
      if (ends.length > REMEMBERED) ends.shift();
      this.store.live = ends.length > 1 ? ((ends.length - 1) * 1000) / (ends.at(-1) - ends[0]) : 0;
      this.store.changed();
      const problem = answers.find((answer) => answer.problem)?.problem;
      await (problem ? waited(problem.retryAfterMs ?? 1000) : painted());
    }
  }
}

async function frameOf(video, canvas) {
  const scale = Math.min(1, WIDEST / video.videoWidth);
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}

const waited = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const painted = () => new Promise((resolve) => requestAnimationFrame(resolve));
