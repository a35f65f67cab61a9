// Photos from wherever they come: dropped, pasted, chosen, taken, or the samples.

import { byId } from "./dom.js";

const LONGEST_SIDE = 2048; // of what is kept to be shown; the server gets the file as it is

/** A photo of the store; its picture is null where this browser cannot show the format. */
export async function readPhoto(file) {
  const photo = { name: file.name || "photo", image: file, bitmap: null, width: 0, height: 0, answers: new Map() };
  try {
    const whole = await createImageBitmap(file);
    const { width, height } = whole;
    const scale = LONGEST_SIDE / Math.max(width, height);
    if (scale >= 1) return { ...photo, bitmap: whole, width, height };
    const size = { resizeWidth: Math.round(width * scale), resizeHeight: Math.round(height * scale) };
    const bitmap = await createImageBitmap(whole, { ...size, resizeQuality: "high" });
    whole.close();
    return { ...photo, bitmap, width, height };
  } catch {
    return photo;
  }
}

/** Call `onFiles` with what is dropped, pasted or chosen anywhere on the page. */
export function takeFiles(onFiles) {
  for (const input of document.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      onFiles([...input.files]);
      input.value = "";
    });
  }
  for (const button of document.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => byId(button.dataset.choose).click());
  }
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    onFiles(files);
  });
  let depth = 0;
  const isFile = (event) => event.dataTransfer?.types.includes("Files");
  const dragging = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  document.addEventListener("dragenter", (event) => isFile(event) && dragging(1));
  document.addEventListener("dragleave", (event) => isFile(event) && dragging(-1));
  document.addEventListener("dragover", (event) => isFile(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    dragging(-depth);
    onFiles([...event.dataTransfer.files]);
  });
}

/** Call `onFiles` with a sample where its button is pressed, or `onFault` where it cannot be had. */
export function takeSamples(onFiles, onFault) {
  for (const button of document.querySelectorAll("[data-sample]")) {
    button.addEventListener("click", async () => {
      const address = new URL(button.dataset.sample, import.meta.url);
      try {
        const response = await fetch(address);
        if (!response.ok) throw new Error(`The server says ${response.status}.`);
        onFiles([new File([await response.blob()], button.dataset.sample, { type: "image/jpeg" })]);
      } catch (error) {
        onFault(error);
      }
    });
  }
}
