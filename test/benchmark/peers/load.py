#!/usr/bin/env python3
"""load.py TOPIC N KEYS PARTITIONS [--sequential] [--per-ms 10] [--t0 MS] [--compression C] [--aborted] [--keep]

Creates TOPIC and produces N JSON records, deterministic for given arguments:
key = k%07d, uniform random among KEYS (or i % KEYS with --sequential);
value = {"t":<ms>,"v":<int>,"pad":"<60 chars>"}; record timestamp = t.

With --aborted the same N records go out in committed transactions of 1000, and after every fourth of these comes one of
1000 more records that is aborted once its records are in the log: whoever counts them gets wrong sums.
"""
import argparse, random, sys, time
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

TRANSACTION = 1000      # records of one transaction
ABORT_EVERY = 4         # committed transactions between aborted ones
PAD = b"x" * 60


class Loader:
    def __init__(self, a, t0):
        self.a, self.t0 = a, t0
        conf = {"bootstrap.servers": a.brokers, "linger.ms": 50, "enable.idempotence": True,  # keeps the order per partition under retries
                "batch.size": 262144, "queue.buffering.max.messages": 500000, "partitioner": "murmur2_random",
                "compression.type": a.compression}
        if a.aborted:
            conf.update({"transactional.id": f"load-{a.topic}", "linger.ms": 5})
        self.prod = Producer(conf)

    def produce(self, i, k, v):
        t = self.t0 + i // self.a.per_ms
        value = b'{"t":%d,"v":%d,"pad":"%s"}' % (t, v, PAD)
        while True:
            try:
                return self.prod.produce(self.a.topic, value, b"k%07d" % k, timestamp=t)
            except BufferError:
                self.prod.poll(0.05)

    def plain(self, records):
        for i, k, v in records:
            self.produce(i, k, v)
            if i % 10000 == 0:
                self.prod.poll(0)
        assert self.prod.flush(60) == 0

    def transactions(self, records):
        """Returns how many records were aborted."""
        rnd, aborted, committed = random.Random(7), 0, 0
        self.prod.init_transactions(30)
        begun = False
        for i, k, v in records:
            if not begun:
                self.prod.begin_transaction()
                begun = True
            self.produce(i, k, v)
            if (i + 1) % TRANSACTION and i + 1 < self.a.n:
                continue
            self.prod.commit_transaction(30)
            begun, committed = False, committed + 1
            if committed % ABORT_EVERY == 0:
                self.prod.begin_transaction()
                for _ in range(TRANSACTION):
                    self.produce(i, rnd.randrange(self.a.keys), 1_000_000)
                assert self.prod.flush(60) == 0     # what is only queued would be dropped, not aborted
                self.prod.abort_transaction(30)
                aborted += TRANSACTION
        return aborted


def records(a):
    randrange = random.Random(42).randrange
    for i in range(a.n):
        k = i % a.keys if a.sequential else randrange(a.keys)
        yield i, k, randrange(1000)


def create(a):
    """Whether the topic is new."""
    admin = AdminClient({"bootstrap.servers": a.brokers})
    try:
        # retention.ms=-1: record timestamps are synthetic, the broker must not expire them
        topic = NewTopic(a.topic, a.partitions, 1, config={"retention.ms": "-1"})
        admin.create_topics([topic])[a.topic].result()
        return True
    except KafkaException as e:
        if a.keep and e.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("topic"); p.add_argument("n", type=int)
    p.add_argument("keys", type=int); p.add_argument("partitions", type=int)
    p.add_argument("--sequential", action="store_true", help="key = i %% KEYS (every key once when N == KEYS)")
    p.add_argument("--per-ms", type=int, default=10, help="records per millisecond of event time")
    p.add_argument("--t0", type=int, help="first timestamp, ms (default: today 00:00 UTC)")
    p.add_argument("--compression", choices=["none", "gzip", "snappy", "lz4", "zstd"], default="none")
    p.add_argument("--aborted", action="store_true", help="in transactions, of which some are aborted; N counts the committed records")
    p.add_argument("--keep", action="store_true", help="a topic that exists is left as it is")
    p.add_argument("--brokers", default="127.0.0.1:19192")
    a = p.parse_args()
    if not create(a):
        print(f"{a.topic}: kept")
        return
    start = time.time()
    loader = Loader(a, a.t0 if a.t0 is not None else int(start // 86400 * 86400_000))
    aborted = loader.transactions(records(a)) if a.aborted else loader.plain(records(a))
    print(f"{a.topic}: {a.n} records, {a.keys} keys, {a.partitions} partitions, {a.compression}, "
          f"{aborted or 0} more records aborted, {time.time() - start:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
