/**
 * Text from bytes and into bytes in place: no view, no copy in between, and none of the argument checks of `toString` and
 * `write`, which cost as much as the work for short texts. Bytes that are not UTF-8 become U+FFFD, as TextDecoder does.
 */

/** Node's own methods behind `toString` and `write`, which its types leave out. */
interface TextBuffer {
  utf8Slice(start: number, end: number): string;
  utf8Write(text: string, at: number, bytesMax: number): number;
}

export function sliceText(data: Buffer, start: number, end: number): string {
  return (data as Buffer & TextBuffer).utf8Slice(start, end);
}

/** Writes UTF-8 at `at`, whole characters only and `bytesMax` bytes at most, which must lie inside. Returns the bytes. */
export function writeText(data: Buffer, text: string, at: number, bytesMax: number): number {
  return (data as Buffer & TextBuffer).utf8Write(text, at, bytesMax);
}
