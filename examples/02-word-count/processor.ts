/** Counts words. A word is the key, so that all of its records meet in one partition, whose state counts them. */
import { defineProcessor, int64, keyValue, string, topic } from 'partita';

export default defineProcessor({
  inputs: { words: topic({ key: string(), value: string() }) },
  outputs: { counts: topic({ key: string(), value: int64() }) },
  stores: { counts: keyValue({ key: string(), value: int64() }) },
  process({ key: word }, { stores, emit }) {
    const count = (stores.counts.get(word) ?? 0) + 1;
    stores.counts.set(word, count);
    emit.counts(word, count);
  },
  queries: { count: ({ stores }, word) => stores.counts.get(word) },
});
