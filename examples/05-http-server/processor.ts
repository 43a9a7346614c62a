/** Counts visits per page; the pages' state is what the HTTP server asks. */
import { defineProcessor, json, keyValue, string, topic } from 'partita';

export interface Visits {
  readonly count: number;
  readonly lastMs: number;
}

export default defineProcessor({
  inputs: { visits: topic({ key: string(), value: string() }) },
  stores: { pages: keyValue({ key: string(), value: json<Visits>() }) },
  process({ key: page, timestamp }, { stores }) {
    stores.pages.update(page, (old) => ({
      count: (old?.count ?? 0) + 1,
      lastMs: Math.max(old?.lastMs ?? 0, timestamp),
    }));
  },
  queries: {
    page: ({ stores }, page) => stores.pages.get(page),
    count: async ({ stores }) => {
      let pages = 0;
      for await (const entry of stores.pages.entries()) if (entry[1].count > 0) pages++;
      return pages;
    },
  },
  commands: {
    forget({ stores }, page) {
      const known = stores.pages.has(page);
      stores.pages.delete(page);
      return known;
    },
  },
});
