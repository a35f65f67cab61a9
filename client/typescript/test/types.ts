// Compiled, not run: what users write has types.

import { EmoClient, Problem, type Detections, type ProblemDocument } from "emo-client";

export async function boxes(image: Blob): Promise<[string, number, number[]][]> {
  const found: Detections = await new EmoClient("/", { apiKey: "key" }).detect(image, { classes: ["cat"] });
  return found.detections.map(({ name, score, box }) => [name, score, box]);
}

export function detailOf(error: unknown): string | undefined {
  const document: Partial<ProblemDocument> = error instanceof Problem ? error.document : {};
  return document.detail;
}

export async function mistakes(client: EmoClient, image: Blob): Promise<void> {
  // @ts-expect-error a classifier has no overlaps
  await client.classify(image, { iou_threshold: 0.5 });
  // @ts-expect-error a number of classes is no text
  await client.classify(image, { top_k: "5" });
}
