/**
 * Accounts of customers. The customer is the key, so all accounts of one live in the same partition and a transfer
 * between them is one atomic change; transfers between customers would need two records. Balances never go below zero.
 */
import { defineProcessor, int64, json, keyValue, string, topic } from 'partita';

export interface Deposit {
  readonly account: string;
  readonly cents: number;
}
export interface Transfer {
  readonly from: string;
  readonly to: string;
  readonly cents: number;
}
export type TransferResult = { readonly ok: true } | { readonly ok: false; readonly why: string };

export default defineProcessor({
  inputs: { deposits: topic({ key: string(), value: json<Deposit>() }) },
  outputs: { transfers: topic({ key: string(), value: json<Transfer>() }) },
  stores: { balances: keyValue({ key: string(), value: int64() }) },
  process({ key: customer, value: { account, cents } }, { stores }) {
    stores.balances.update(`${customer}/${account}`, (balance) => (balance ?? 0) + cents);
  },
  commands: {
    /** Runs in order with the records of its partition; what it writes and emits is committed together. */
    transfer({ stores, emit }, customer, transfer: Transfer): TransferResult {
      const from = `${customer}/${transfer.from}`;
      const balance = stores.balances.get(from) ?? 0;
      if (balance < transfer.cents) return { ok: false, why: `${from} holds ${balance} cents only` };
      stores.balances.set(from, balance - transfer.cents);
      stores.balances.update(`${customer}/${transfer.to}`, (old) => (old ?? 0) + transfer.cents);
      emit.transfers(customer, transfer);
      return { ok: true };
    },
    /** What a command throws rejects its caller and leaves no trace. */
    empty({ stores }, customer, account: string) {
      stores.balances.set(`${customer}/${account}`, 0);
      throw new Error(`nobody may empty ${customer}/${account}`);
    },
  },
  queries: {
    async statement({ stores }, customer) {
      const accounts: Record<string, number> = {};
      const prefix = `${customer}/`;
      for await (const [key, cents] of stores.balances.prefix(prefix))
        accounts[key.slice(prefix.length)] = cents;
      return accounts;
    },
  },
});
