"""An independent idempotent producer for the tests (librdkafka through confluent-kafka), driven through a pipe.

Each line of stdin is a JSON array of records [topic, key, value]; "ok" is printed once every broker has acknowledged all
of them. CONFIG, the only argument, is a JSON object of librdkafka's settings. It ends with stdin; other-producer.ts runs it.
"""
import json
import sys

from confluent_kafka import Producer

ACKNOWLEDGED_BUDGET_S = 60
failures = []


def delivered(error, _message):
    if error is not None:
        failures.append(str(error))


producer = Producer(
    {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "linger.ms": 0,
        "delivery.timeout.ms": ACKNOWLEDGED_BUDGET_S * 1000,
        "retry.backoff.max.ms": 500,
        "reconnect.backoff.max.ms": 500,
        **json.loads(sys.argv[1]),
    }
)
for line in sys.stdin:
    for topic, key, value in json.loads(line):
        producer.produce(topic, value=value, key=key, on_delivery=delivered)
    if producer.flush(ACKNOWLEDGED_BUDGET_S) > 0:
        failures.append(f"no acknowledgement within {ACKNOWLEDGED_BUDGET_S} s")
    if failures:
        sys.exit(failures[0])
    print("ok", flush=True)
