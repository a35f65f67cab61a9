// What is asked and answered, by the names that the server's OpenAPI document has for it.

import type { components, operations } from "./schema.js";

type Schemas = components["schemas"];
type Query<Name extends "classify" | "detect" | "segment"> = NonNullable<operations[Name]["parameters"]["query"]>;

/** The best classes of an image, best first. */
export type Classification = Schemas["ClassifyAnswer"];

/** The objects in an image, best first. */
export type Detections = Schemas["DetectAnswer"];

/** The classes of an image's pixels, the largest first, as COCO run lengths. */
export type Segmentation = Schemas["SegmentAnswer"];

/** A version of a model that is served. */
export type Model = Schemas["ModelSummary"];

export type ClassifyParameters = Query<"classify">;

/** `format=coco` and pictures as answers are for other clients. */
export type DetectParameters = Omit<Query<"detect">, "format">;
export type SegmentParameters = Omit<Query<"segment">, "format">;

/** What the server says is wrong (RFC 9457); some kinds have more members. */
export type ProblemDocument = Schemas["ProblemDocument"];

/** `signal` ends a call early; it fails with the signal's reason. */
export interface CallOptions {
  signal?: AbortSignal;
}
