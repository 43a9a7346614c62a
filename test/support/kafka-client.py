"""An independent Kafka client for the tests (librdkafka through confluent-kafka): prints JSON lines and ends.

kafka-client.py read      TOPIC        CONFIG  every committed record: partition, offset, timestamp, key, value, headers
kafka-client.py committed TOPIC GROUP  CONFIG  the group's offsets: partition, offset, end, lag

CONFIG is a JSON object of librdkafka's settings with at least "bootstrap.servers". Bytes are printed in base64. It only
reads; other-client.ts runs it.
"""
import base64
import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

ANSWER_BUDGET_S = 10
RECORD_BUDGET_S = 20


def text(data):
    return None if data is None else base64.b64encode(data).decode()


def say(**line):
    print(json.dumps(line))


def partitions(consumer, topic):
    found = consumer.list_topics(topic, timeout=ANSWER_BUDGET_S).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def read(consumer, topic):
    left = set(partitions(consumer, topic))
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in left])
    while left:
        message = consumer.poll(RECORD_BUDGET_S)
        if message is None:
            sys.exit(f"No record and no end of partitions {sorted(left)} within {RECORD_BUDGET_S} s.")
        error = message.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            left.discard(message.partition())
        elif error is not None:
            raise KafkaException(error)
        else:
            say(
                partition=message.partition(),
                offset=message.offset(),
                timestamp=message.timestamp()[1],
                key=text(message.key()),
                value=text(message.value()),
                headers=[[name, text(value)] for name, value in message.headers() or []],
            )


def committed(consumer, topic):
    wanted = [TopicPartition(topic, number) for number in partitions(consumer, topic)]
    for one in consumer.committed(wanted, timeout=ANSWER_BUDGET_S):
        if one.error is not None:
            raise KafkaException(one.error)
        start, end = consumer.get_watermark_offsets(TopicPartition(topic, one.partition), timeout=ANSWER_BUDGET_S)
        offset = one.offset if one.offset >= 0 else None
        lag = end - (start if offset is None else offset)
        # Its metadata is left out: this client reads beyond the end of the text.
        say(partition=one.partition, offset=offset, end=end, lag=lag)


def main(command, topic, *rest):
    config = {
        "group.id": rest[0] if command == "committed" else "other-client",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        **json.loads(rest[-1]),
    }
    consumer = Consumer(config)
    try:
        {"read": read, "committed": committed}[command](consumer, topic)
    finally:
        consumer.close()


main(*sys.argv[1:])
