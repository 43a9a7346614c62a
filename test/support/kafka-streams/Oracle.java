/*
 * What Kafka Streams makes of records, by its own TopologyTestDriver. Reads runs from stdin, one JSON object a line: a header that
 * names the topology, then its records in order, then an empty line; answers with a line for each result, each dropped record and,
 * at the end of the run, each row of the store, then an empty line. It never judges: kafka-streams-oracle.ts is the other side.
 */
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.serialization.DoubleSerializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Initializer;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.ValueJoiner;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;
import org.apache.kafka.streams.state.DslStoreSuppliers;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.ValueAndTimestamp;

public final class Oracle {
  private static final String STORE = "store";
  private static final ObjectMapper JSON = new ObjectMapper();

  private final BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
  private final BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
  private final String stateFolder;
  /** Index of the record that is being processed. */
  private int at;

  private Oracle(String stateFolder) {
    this.stateFolder = stateFolder;
  }

  public static void main(String[] args) throws IOException {
    Oracle oracle = new Oracle(args[0]);
    for (String line = oracle.in.readLine(); line != null; line = oracle.in.readLine()) {
      oracle.run(JSON.readTree(line));
      oracle.out.newLine();
      oracle.out.flush();
    }
  }

  private void run(JsonNode header) throws IOException {
    StreamsBuilder builder = new StreamsBuilder();
    build(builder, header);
    try (TopologyTestDriver driver = new TopologyTestDriver(builder.build(), config())) {
      Map<String, TestInputTopic<String, Double>> topics = new HashMap<>();
      Metric dropped = droppedRecords(driver);
      double droppedBefore = 0;
      Set<String> keys = new TreeSet<>();
      at = 0;
      for (String line = in.readLine(); line != null && !line.isEmpty(); line = in.readLine(), at++) {
        JsonNode record = JSON.readTree(line);
        String key = record.get("key").isNull() ? null : record.get("key").asText();
        Double value = record.get("value").isNull() ? null : record.get("value").asDouble();
        if (key != null) keys.add(key);
        topics
            .computeIfAbsent(
                record.get("input").asText(),
                topic -> driver.createInputTopic(topic, new StringSerializer(), new DoubleSerializer()))
            .pipeInput(key, value, record.get("timestamp").asLong());
        double droppedNow = (Double) dropped.metricValue();
        if (droppedNow > droppedBefore) write("dropped", JSON.createObjectNode().put("at", at).put("count", (int) (droppedNow - droppedBefore)));
        droppedBefore = droppedNow;
      }
      writeState(driver, header.get("topology").asText(), keys);
    }
  }

  private Properties config() {
    Properties config = new Properties();
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, "oracle");
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "none:9092");
    config.put(StreamsConfig.STATE_DIR_CONFIG, stateFolder);
    // Each update at once, instead of the last one of a commit interval.
    config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0L);
    // By default Kafka Streams looks for closed windows, and for what was not joined, at most once in a second of the wall clock.
    config.put("__emit.interval.ms.kstreams.windowed.aggregation__", 0L);
    config.put("__emit.interval.ms.kstreams.outer.join.spurious.results.fix__", 0L);
    return config;
  }

  private static Metric droppedRecords(TopologyTestDriver driver) {
    for (Map.Entry<MetricName, ? extends Metric> metric : driver.metrics().entrySet())
      if (metric.getKey().name().equals("dropped-records-total")) return metric.getValue();
    throw new IllegalStateException("This version of Kafka Streams does not count dropped records.");
  }

  // Topologies.

  private void build(StreamsBuilder builder, JsonNode header) {
    KStream<String, Double> a = builder.stream("a", Consumed.with(Serdes.String(), Serdes.Double()));
    switch (header.get("topology").asText()) {
      case "tumbling":
      case "hopping":
        timeWindows(a, header);
        break;
      case "sliding":
        slidingWindows(a, header);
        break;
      case "session":
        sessionWindows(a, header);
        break;
      case "streamJoin":
        streamJoin(a, builder.stream("b", Consumed.with(Serdes.String(), Serdes.Double())), header);
        break;
      case "tableJoin":
        tableJoin(a, builder.table("b", Consumed.with(Serdes.String(), Serdes.Double())), header);
        break;
      default:
        throw new IllegalArgumentException("No such topology: " + header);
    }
  }

  private static final Initializer<Sum> NOTHING = () -> new Sum(0, 0);
  private static final Aggregator<String, Double, Sum> ADD =
      (key, value, sum) -> new Sum(sum.count + 1, sum.sum + (value == null ? 0 : value));

  private void timeWindows(KStream<String, Double> stream, JsonNode header) {
    TimeWindows windows = TimeWindows.ofSizeAndGrace(duration(header, "sizeMs"), duration(header, "graceMs"));
    if (header.has("stepMs")) windows = windows.advanceBy(duration(header, "stepMs"));
    writeWindows(grouped(stream).windowedBy(windows).emitStrategy(emission(header)).aggregate(NOTHING, ADD, stored(header)));
  }

  private void slidingWindows(KStream<String, Double> stream, JsonNode header) {
    SlidingWindows windows =
        SlidingWindows.ofTimeDifferenceAndGrace(duration(header, "sizeMs"), duration(header, "graceMs"));
    writeWindows(grouped(stream).windowedBy(windows).emitStrategy(emission(header)).aggregate(NOTHING, ADD, stored(header)));
  }

  private void sessionWindows(KStream<String, Double> stream, JsonNode header) {
    SessionWindows windows =
        SessionWindows.ofInactivityGapAndGrace(duration(header, "gapMs"), duration(header, "graceMs"));
    writeWindows(
        grouped(stream)
            .windowedBy(windows)
            .emitStrategy(emission(header))
            .aggregate(NOTHING, ADD, (key, one, two) -> new Sum(one.count + two.count, one.sum + two.sum), stored(header)));
  }

  private void streamJoin(KStream<String, Double> left, KStream<String, Double> right, JsonNode header) {
    JoinWindows windows =
        JoinWindows.ofTimeDifferenceAndGrace(duration(header, "afterMs"), duration(header, "graceMs"))
            .before(duration(header, "beforeMs"));
    StreamJoined<String, Double, Double> serdes =
        StreamJoined.with(Serdes.String(), Serdes.Double(), Serdes.Double()).withDslStoreSuppliers(storeType(header));
    switch (header.get("kind").asText()) {
      case "inner":
        writePairs(left.join(right, PAIR, windows, serdes));
        break;
      case "left":
        writePairs(left.leftJoin(right, PAIR, windows, serdes));
        break;
      default:
        writePairs(left.outerJoin(right, PAIR, windows, serdes));
    }
  }

  private void tableJoin(KStream<String, Double> stream, KTable<String, Double> table, JsonNode header) {
    Joined<String, Double, Double> serdes = Joined.with(Serdes.String(), Serdes.Double(), Serdes.Double());
    writePairs(
        header.get("kind").asText().equals("inner")
            ? stream.join(table, PAIR, serdes)
            : stream.leftJoin(table, PAIR, serdes));
  }

  private static final ValueJoiner<Double, Double, Double[]> PAIR = (left, right) -> new Double[] {left, right};

  private static KGroupedStream<String, Double> grouped(KStream<String, Double> stream) {
    return stream.groupByKey(Grouped.with(Serdes.String(), Serdes.Double()));
  }

  private static EmitStrategy emission(JsonNode header) {
    return header.get("emission").asText().equals("final") ? EmitStrategy.onWindowClose() : EmitStrategy.onWindowUpdate();
  }

  private static <S extends org.apache.kafka.streams.processor.StateStore> Materialized<String, Sum, S> stored(JsonNode header) {
    Materialized<String, Sum, S> stored = Materialized.as(STORE);
    stored.withKeySerde(Serdes.String()).withValueSerde(Sum.serde()).withStoreType(storeType(header));
    return header.has("retentionMs") ? stored.withRetention(duration(header, "retentionMs")) : stored;
  }

  /** The driver commits after each record, and RocksDB then writes a file; so it is asked for where it makes a difference. */
  private static DslStoreSuppliers storeType(JsonNode header) {
    return header.path("store").asText().equals("rocksDB")
        ? new BuiltInDslStoreSuppliers.RocksDBDslStoreSuppliers()
        : new BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers();
  }

  private static Duration duration(JsonNode header, String name) {
    return Duration.ofMillis(header.get(name).asLong());
  }

  // Answers.

  private void writeWindows(KTable<Windowed<String>, Sum> windows) {
    windows
        .toStream()
        .process(
            () ->
                new ContextualProcessor<Windowed<String>, Sum, Void, Void>() {
                  @Override
                  public void process(Record<Windowed<String>, Sum> record) {
                    write("window", window(record.key(), record.value()).put("at", at).put("timestamp", record.timestamp()));
                  }
                });
  }

  private void writePairs(KStream<String, Double[]> pairs) {
    pairs.process(
        () ->
            new ContextualProcessor<String, Double[], Void, Void>() {
              @Override
              public void process(Record<String, Double[]> record) {
                ObjectNode pair = JSON.createObjectNode().put("at", at).put("key", record.key());
                pair.put("left", record.value()[0]).put("right", record.value()[1]);
                write("pair", pair.put("timestamp", record.timestamp()));
              }
            });
  }

  private void writeState(TopologyTestDriver driver, String topology, Set<String> keys) {
    if (topology.equals("session")) {
      for (String key : keys)
        try (KeyValueIterator<Windowed<String>, Sum> rows = driver.<String, Sum>getSessionStore(STORE).fetch(key)) {
          while (rows.hasNext()) writeRow(rows.next());
        }
    } else if (!topology.endsWith("Join")) {
      try (KeyValueIterator<Windowed<String>, ValueAndTimestamp<Sum>> rows =
          driver.<String, Sum>getTimestampedWindowStore(STORE).all()) {
        while (rows.hasNext()) {
          KeyValue<Windowed<String>, ValueAndTimestamp<Sum>> row = rows.next();
          writeRow(new KeyValue<>(row.key, row.value.value()));
        }
      }
    }
  }

  private void writeRow(KeyValue<Windowed<String>, Sum> row) {
    write("row", window(row.key, row.value));
  }

  /** Without a count and a sum the window is no more. */
  private static ObjectNode window(Windowed<String> key, Sum value) {
    ObjectNode window = JSON.createObjectNode().put("key", key.key());
    window.put("startMs", key.window().start()).put("endMs", key.window().end());
    if (value == null) return window.putNull("count").putNull("sum");
    return window.put("count", value.count).put("sum", value.sum);
  }

  private void write(String type, ObjectNode content) {
    try {
      out.write(content.put("type", type).toString());
      out.newLine();
    } catch (IOException error) {
      throw new IllegalStateException("The results cannot be written.", error);
    }
  }

  /** How many values, and their sum. */
  private static final class Sum {
    final long count;
    final double sum;

    Sum(long count, double sum) {
      this.count = count;
      this.sum = sum;
    }

    static Serde<Sum> serde() {
      return Serdes.serdeFrom(
          (topic, of) -> of == null ? null : ByteBuffer.allocate(16).putLong(of.count).putDouble(of.sum).array(),
          (topic, bytes) -> {
            if (bytes == null) return null;
            ByteBuffer buffer = ByteBuffer.wrap(bytes);
            return new Sum(buffer.getLong(), buffer.getDouble());
          });
    }
  }
}
