// Non-maximum suppression as the server does it, so that a slider acts at once.

const area = ([left, top, right, bottom]) => Math.max(right - left, 0) * Math.max(bottom - top, 0);

/** Intersection over union of two boxes [left, top, right, bottom]. */
export function iou(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  const common = Math.max(width, 0) * Math.max(height, 0);
  return common === 0 ? 0 : common / (area(one) + area(other) - common);
}

/**
 * Those of `detections`, best first, that no better one of their class overlaps by more than `iouThreshold`, at most
 * `count`; with `classAgnostic` of any class.
 */
export function suppress(detections, { iouThreshold, count, classAgnostic }) {
  const kept = [];
  for (const candidate of detections) {
    if (kept.length === count) break;
    const isRival = (better) => classAgnostic || better.class_id === candidate.class_id;
    if (!kept.some((better) => isRival(better) && iou(better.box, candidate.box) > iouThreshold)) kept.push(candidate);
  }
  return kept;
}
