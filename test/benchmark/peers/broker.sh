#!/bin/sh
# usage: broker.sh start|stop|run  - one KRaft broker from Maven Central on 127.0.0.1:$BENCH_PORT (19192; its controller on
# the port after it), data in $BENCH_WORK/broker. `start` puts it in the background, waits until it listens, and leaves its
# process id in $BENCH_WORK/broker.pid; `stop` ends it in order and keeps the topics; `run` stays in the foreground.
# KAFKA=4.4.0 chooses another version (3.9.1), HEAP=512m another heap (1g), KAFKA_LIB a folder that has the jars.
# Needs java 17 and mvn.
set -e
. "$(dirname "$0")/settings.sh"
VERSION=${KAFKA:-3.9.1}
DIR=$BENCH_WORK/broker
START_TRIES=60 STOP_SECONDS=60

alive() { [ -f "$BROKER_PID_FILE" ] && kill -0 "$(cat "$BROKER_PID_FILE")" 2>/dev/null; }
answers() {
  "$PYTHON" -c 'import sys; from confluent_kafka.admin import AdminClient
AdminClient({"bootstrap.servers": sys.argv[1], "log_level": 0}).list_topics(timeout=3)' "$BROKERS" 2>/dev/null
}

configure() {
  mkdir -p "$DIR"
  cat > "$DIR/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>bench</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
POM
  # One partition of each internal topic and few threads: the broker shares the machine with what is measured.
  cat > "$DIR/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((BENCH_PORT + 1))
listeners=PLAINTEXT://127.0.0.1:$BENCH_PORT,CONTROLLER://127.0.0.1:$((BENCH_PORT + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$BENCH_PORT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=data
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=100
num.network.threads=1
num.io.threads=2
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.backoff.ms=200
PROPERTIES
}

run() {
  configure
  cd "$DIR"
  LIB=${KAFKA_LIB:-lib-$VERSION}
  [ -d "$LIB" ] || mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$LIB"
  JAVA="java -Xms64m -Xmx${HEAP:-1g} -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
  $JAVA -XX:TieredStopAtLevel=1 -cp "$LIB/*" kafka.tools.StorageTool format --ignore-formatted \
    -t 4L6g3nShT-eMCtK--X86sw -c server.properties
  exec $JAVA -cp "$LIB/*" kafka.Kafka server.properties
}

start() {
  if alive; then echo "The broker runs already, process $(cat "$BROKER_PID_FILE")."; return; fi
  nohup "$HERE/broker.sh" run > "$BENCH_WORK/broker.log" 2>&1 &
  echo $! > "$BROKER_PID_FILE"
  for _ in $(seq $START_TRIES); do
    answers && { echo "Broker on $BROKERS, process $(cat "$BROKER_PID_FILE")."; return; }
    alive || break
    sleep 1
  done
  echo "The broker did not start; see $BENCH_WORK/broker.log." >&2
  exit 1
}

stop() {
  alive || { echo "No broker runs."; return; }
  kill "$(cat "$BROKER_PID_FILE")"
  for _ in $(seq $STOP_SECONDS); do
    alive || { rm -f "$BROKER_PID_FILE"; echo "The broker has stopped; its topics are kept in $DIR."; return; }
    sleep 1
  done
  echo "The broker, process $(cat "$BROKER_PID_FILE"), has not stopped within $STOP_SECONDS s." >&2
  exit 1
}

case $1 in
  start) start ;;
  stop) stop ;;
  run) run ;;
  *) sed -n '2,6s/^# //p' "$0" >&2; exit 2 ;;
esac
