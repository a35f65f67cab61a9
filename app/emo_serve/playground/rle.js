// Masks in COCO's compressed run lengths.

/** The run lengths in COCO's text, the first of pixels outside the mask. */
export function runLengths(text) {
  const counts = [];
  for (let place = 0; place < text.length; ) {
    let number = 0;
    let shift = 0;
    let digit;
    do {
      digit = text.charCodeAt(place++) - 48;
      number |= (digit & 0x1f) << shift;
      shift += 5;
    } while (digit & 0x20);
    if (digit & 0x10 && shift < 32) number |= -1 << shift;
    counts.push(counts.length > 2 ? number + counts[counts.length - 2] : number);
  }
  return counts;
}

/**
 * The class of every pixel of a segmentation, down the columns as COCO counts them: the entry's position in `classes`
 * plus 1, or 0 where there is none.
 */
export function classMap({ width, height }, classes) {
  const map = new Uint16Array(width * height);
  classes.forEach((entry, index) => {
    let start = 0;
    runLengths(entry.rle.counts).forEach((length, run) => {
      if (run % 2) map.fill(index + 1, start, start + length);
      start += length;
    });
  });
  return map;
}
