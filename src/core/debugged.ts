/** Whether somebody may be stepping through this thread: asked of Node, which not every build of it can answer. */

/** Whether an inspector listens for this thread (`--inspect`, `inspector.open()`). */
export function isDebugged(): boolean {
  return process.getBuiltinModule('node:inspector').url() !== undefined;
}
