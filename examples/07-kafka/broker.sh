#!/bin/sh
# broker.sh [DIR] [PORT]: one Kafka broker without Docker, from Maven Central, in the foreground, on 127.0.0.1:PORT.
# Needs Java 17 or later and Maven. Its jars (43 MB) and its data are kept in DIR. End it with Ctrl-C or SIGTERM.
set -e
DIR=${1:-.kafka} PORT=${2:-9092} VERSION=${KAFKA_VERSION:-4.4.0}
mkdir -p "$DIR"
cd "$DIR"
cat > pom.xml <<X
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>example</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
X
cat > server.properties <<X
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((PORT + 1))
listeners=PLAINTEXT://127.0.0.1:$PORT,CONTROLLER://127.0.0.1:$((PORT + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$PORT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
X
LIB=lib-$VERSION
[ -d "$LIB" ] || mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$LIB"
run() { exec java -Xmx512m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$LIB/*" "$@"; }
(run kafka.tools.StorageTool format --ignore-formatted -t 4L6g3nShT-eMCtK--X86sw -c server.properties)
run kafka.Kafka server.properties
