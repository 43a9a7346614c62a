package peer;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/** The peer in Kafka Streams: W1 (running aggregate per key) and W2 (1 s tumbling window). */
public class Main {
  public static class Event { public long t; public long v; public String pad; }
  public static class Agg { public long count; public long sum; public long last; }
  public static class Win { public long count; public long sum; }

  static final ObjectMapper JSON = new ObjectMapper();
  static final AtomicLong SEEN = new AtomicLong();

  static <T> Serde<T> json(Class<T> type) {
    return Serdes.serdeFrom(
        (topic, v) -> {
          try { return v == null ? null : JSON.writeValueAsBytes(v); } catch (IOException e) { throw new RuntimeException(e); }
        },
        (topic, b) -> {
          try { return b == null ? null : JSON.readValue(b, type); } catch (IOException e) { throw new RuntimeException(e); }
        });
  }

  /** Progress protocol of measure.py: "@progress <records this process has seen>". */
  static void tick() {
    long n = SEEN.incrementAndGet();
    if (n == 1 || n % 10_000 == 0) System.out.println("@progress " + n);
  }

  static class Update extends ContextualProcessor<String, Event, String, Agg> {
    private final boolean emit;
    private KeyValueStore<String, Agg> store;
    Update(boolean emit) { this.emit = emit; }
    @Override public void init(ProcessorContext<String, Agg> context) {
      super.init(context);
      store = context.getStateStore("agg");
    }
    @Override public void process(Record<String, Event> r) {
      tick();
      Agg a = store.get(r.key());
      if (a == null) a = new Agg();
      a.count++;
      a.sum += r.value().v;
      a.last = r.value().v;
      store.put(r.key(), a);
      if (emit) context().forward(r.withValue(a));
    }
  }

  static Topology w1(String in, String out, boolean caching) {
    StoreBuilder<KeyValueStore<String, Agg>> store = Stores.keyValueStoreBuilder(
        Stores.persistentKeyValueStore("agg"), Serdes.String(), json(Agg.class)).withLoggingEnabled(Map.of());
    store = caching ? store.withCachingEnabled() : store.withCachingDisabled();
    Topology t = new Topology();
    t.addSource("in", Serdes.String().deserializer(), json(Event.class).deserializer(), in);
    t.addProcessor("update", () -> new Update(out != null), "in");
    t.addStateStore(store, "update");
    if (out != null) t.addSink("out", out, Serdes.String().serializer(), json(Agg.class).serializer(), "update");
    return t;
  }

  static Topology w2(String in, String out, boolean caching, boolean fin) {
    StreamsBuilder b = new StreamsBuilder();
    Materialized<String, Win, WindowStore<Bytes, byte[]>> m =
        Materialized.<String, Win, WindowStore<Bytes, byte[]>>as("win").withKeySerde(Serdes.String()).withValueSerde(json(Win.class));
    // closed windows are emitted once per wall-clock second: where event time runs faster than the clock,
    // those older than the retention (default: size + grace) would be gone by then
    if (fin) m = m.withRetention(Duration.ofMinutes(10));
    m = caching ? m.withCachingEnabled() : m.withCachingDisabled();
    KStream<String, Win> s = b.stream(in, Consumed.with(Serdes.String(), json(Event.class)))
        .groupByKey(Grouped.with(Serdes.String(), json(Event.class)))
        .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofSeconds(1)))
        .emitStrategy(fin ? EmitStrategy.onWindowClose() : EmitStrategy.onWindowUpdate())
        .aggregate(Win::new, (k, e, w) -> { tick(); w.count++; w.sum += e.v; return w; }, m)
        .toStream((wk, w) -> wk.key());
    if (out != null) s.to(out, Produced.with(Serdes.String(), json(Win.class)));
    return b.build();
  }

  public static void main(String[] argv) throws Exception {
    Map<String, String> a = new HashMap<>(Map.of("work", "w1", "brokers", "127.0.0.1:19192", "threads", "1", "commit", "5000"));
    Set<String> flags = new HashSet<>();
    for (int i = 0; i < argv.length; i++) {
      String k = argv[i].substring(2);
      if (i + 1 < argv.length && !argv[i + 1].startsWith("--")) a.put(k, argv[++i]); else flags.add(k);
    }
    boolean caching = flags.contains("cache");
    Properties p = new Properties();
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, a.get("group"));
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, a.get("brokers"));
    p.put(StreamsConfig.STATE_DIR_CONFIG, a.get("state"));
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, a.get("threads"));
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, a.get("commit"));
    p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
        flags.contains("eos") ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    // leave the group on close, so that a restart does not wait for the session timeout
    p.put(StreamsConfig.consumerPrefix("internal.leave.group.on.close"), true);

    Topology t = a.get("work").equals("w1")
        ? w1(a.get("in"), a.get("out"), caching) : w2(a.get("in"), a.get("out"), caching, flags.contains("final"));
    KafkaStreams streams = new KafkaStreams(t, p);
    streams.setGlobalStateRestoreListener(new StateRestoreListener() {
      public void onRestoreStart(TopicPartition tp, String s, long from, long to) { System.out.println("@restore-start " + tp + " " + (to - from)); }
      public void onBatchRestored(TopicPartition tp, String s, long end, long n) { }
      public void onRestoreEnd(TopicPartition tp, String s, long n) { System.out.println("@restored " + tp + " " + n); }
    });
    streams.setUncaughtExceptionHandler(e -> {
      e.printStackTrace();
      return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
    });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(30))));
    streams.start();
  }
}
