// One colour for each class, the same that the server draws with: neighbouring class ids get distant hues.

const GOLDEN_RATIO = 0.618034;

/** [red, green, blue] of a class, each 0 to 255: the hue of its id, saturation 0.85, value 0.95. */
export function colourOf(classId) {
  const hue = ((classId * GOLDEN_RATIO) % 1) * 6;
  const channel = (shift) => {
    const place = (shift + hue) % 6;
    return Math.round(255 * 0.95 * (1 - 0.85 * Math.max(0, Math.min(place, 4 - place, 1))));
  };
  return [channel(5), channel(3), channel(1)];
}

/** As CSS writes it. */
export const css = ([red, green, blue], alpha = 1) => `rgb(${red} ${green} ${blue} / ${alpha})`;

/** Black or white, whichever is readable on a colour. */
export const inkOn = ([red, green, blue]) => (0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000" : "#fff");
