/** Counts words. */
import { defineProcessor, int64, keyValue, string, topic } from 'partita';

export default defineProcessor({
  inputs: { words: topic({ key: string(), value: string() }) },
  stores: { counts: keyValue({ key: string(), value: int64() }) },
  process({ key }, { stores }) {
    stores.counts.update(key, (old) => (old ?? 0) + 1);
  },
});
