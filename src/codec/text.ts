/** Text from bytes in place: one string, no view in between. Bytes that are not UTF-8 become U+FFFD, as TextDecoder does. */

/** Node's own slicing methods, which its types leave out; `toString` costs twice as much for short texts. */
interface SliceableBuffer {
  utf8Slice(start: number, end: number): string;
}

export function sliceText(data: Buffer, start: number, end: number): string {
  return (data as Buffer & SliceableBuffer).utf8Slice(start, end);
}
