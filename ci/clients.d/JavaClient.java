// Apache Kafka's own Java clients (kafka-clients). Arguments: bootstrap address.
// One JSON object a line on stdin, one reply a line on stdout, as serve.py does it; the records are those of records.py.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.internals.AppInfoParser;
import org.apache.kafka.common.utils.internals.Exit;

public class JavaClient {
    static final ObjectMapper JSON = new ObjectMapper();
    static final byte[] PATTERN = new byte[256 + 60_000];
    static final long WAIT_S = 30;
    // What is not there is asked for again until then.
    static final long OFFSET_WAIT_S = 8;
    static String bootstrap;
    static Admin admin;

    static class Unsupported extends RuntimeException {
        Unsupported(String what) {
            super(what);
        }
    }

    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < PATTERN.length; i++) PATTERN[i] = (byte) (7 * i);
        bootstrap = arguments[0];
        admin = Admin.create(settings(Map.of()));
        PrintStream replies = System.out;
        // What tools and loggers print must not mix with the replies.
        System.setOut(System.err);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            Map<String, Object> reply = new HashMap<>();
            try {
                reply.put("ok", done(JSON.readTree(line)));
            } catch (Unsupported why) {
                reply.put("unsupported", why.getMessage());
            } catch (Throwable thrown) {
                Throwable error = thrown instanceof ExecutionException && thrown.getCause() != null ? thrown.getCause() : thrown;
                error.printStackTrace();
                Map<String, Object> refused = new HashMap<>();
                Errors known = error instanceof OffsetOutOfRangeException ? Errors.OFFSET_OUT_OF_RANGE
                        : error instanceof ApiException ? Errors.forException(error) : Errors.UNKNOWN_SERVER_ERROR;
                refused.put("code", known == Errors.UNKNOWN_SERVER_ERROR ? null : known.code());
                refused.put("text", error.toString());
                reply.put("error", refused);
            }
            replies.println(JSON.writeValueAsString(reply));
            replies.flush();
        }
        System.exit(0);
    }

    static Object done(JsonNode c) throws Exception {
        String topic = c.path("topic").asText();
        int partition = c.path("partition").asInt(-1), partitions = c.path("partitions").asInt();
        switch (c.path("do").asText()) {
            case "hello":
                return Map.of("name", "kafka-clients (Java)", "version", AppInfoParser.getVersion(), "codecs",
                        List.of("gzip", "snappy", "lz4", "zstd"));
            case "create": {
                Map<String, String> configs = new HashMap<>();
                c.path("configs").fields().forEachRemaining(e -> configs.put(e.getKey(), e.getValue().asText()));
                short replicas = (short) c.path("replicas").asInt(1);
                return wait(admin.createTopics(List.of(new NewTopic(topic, partitions, replicas).configs(configs))).all());
            }
            case "delete":
                return wait(admin.deleteTopics(List.of(topic)).all());
            case "list":
                return admin.listTopics().names().get().stream().sorted().toList();
            case "describe": {
                List<Object> found = new ArrayList<>();
                for (var p : wait(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions())
                    found.add(Map.of("id", p.partition(), "leader", p.leader().id(), "replicas", p.replicas().size(), "isr", p.isr().size()));
                return Map.of("partitions", found);
            }
            case "grow":
                return wait(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(partitions))).all());
            case "config_get": {
                ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
                ConfigEntry entry = wait(admin.describeConfigs(List.of(resource)).all()).get(resource).get(c.path("name").asText());
                int source = switch (entry.source()) {
                    case DYNAMIC_TOPIC_CONFIG -> 1;
                    case DEFAULT_CONFIG -> 5;
                    default -> -1;
                };
                return Map.of("value", entry.value(), "source", source);
            }
            case "config_set": {
                ConfigEntry entry = new ConfigEntry(c.path("name").asText(), c.path("value").asText());
                return wait(admin.incrementalAlterConfigs(Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic),
                        List.of(new AlterConfigOp(entry, AlterConfigOp.OpType.SET)))).all());
            }
            case "delete_records": {
                TopicPartition place = new TopicPartition(topic, partition);
                var futures = admin.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(c.path("before").asLong())));
                return Map.of("low", wait(futures.lowWatermarks().get(place)).lowWatermark());
            }
            case "offset": {
                TopicPartition place = new TopicPartition(topic, partition);
                String at = c.path("at").asText();
                OffsetSpec spec = switch (at) {
                    case "earliest" -> OffsetSpec.earliest();
                    case "latest" -> OffsetSpec.latest();
                    case "max" -> OffsetSpec.maxTimestamp();
                    default -> OffsetSpec.forTimestamp(Long.parseLong(at));
                };
                return admin.listOffsets(Map.of(place, spec)).all().get(OFFSET_WAIT_S, TimeUnit.SECONDS).get(place).offset();
            }
            case "cluster": {
                var found = admin.describeCluster();
                var nodes = wait(found.nodes());
                int controller = wait(found.controller()).id();
                return Map.of("brokers", nodes.size(), "controller_is_a_broker", nodes.stream().anyMatch(n -> n.id() == controller),
                        "has_id", !wait(found.clusterId()).isEmpty());
            }
            case "log_dirs": {
                long size = 0;
                int dirs = 0;
                for (var broker : wait(admin.describeLogDirs(List.of(c.path("broker").asInt())).allDescriptions()).values())
                    for (var dir : broker.values()) {
                        dirs++;
                        for (var entry : dir.replicaInfos().entrySet())
                            if (entry.getKey().topic().equals(topic)) size += entry.getValue().size();
                    }
                return Map.of("dirs", dirs, "has_size", size > 0);
            }
            case "produce":
                return produce(c, topic, partitions);
            case "send":
                return send(c, topic);
            case "read":
                return read(topic, partitions, c.path("dump").asText(null));
            case "fetch":
                return fetch(topic, partition, c.path("offset").asLong());
            case "tool": {
                List<String> words = new ArrayList<>();
                c.path("arguments").forEach(word -> words.add(word.asText().replace("BOOTSTRAP", bootstrap)));
                return tool(c.path("class").asText(), words, c.path("input").asText(""));
            }
            default:
                throw new Unsupported(c.path("do").asText());
        }
    }

    static <T> T wait(Future<T> future) throws Exception {
        return future.get(WAIT_S, TimeUnit.SECONDS);
    }

    static Properties settings(Map<String, Object> more) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.putAll(more);
        return settings;
    }

    static ProducerRecord<byte[], byte[]> made(String topic, long seed, int index, long base, int partitions, String profile) {
        long x = (index * 2654435761L + seed * 40503L) & 0xFFFFFFFFL;
        x ^= x >>> 15;
        byte[] key = text("key-" + x % 1000);
        if (profile.equals("text")) return new ProducerRecord<>(topic, null, null, key, text("value-" + index + "-" + x));
        Integer partition = null;
        if (index % 10 == 3) {
            key = null;
            partition = index % partitions;
        } else if (index % 10 == 7) {
            key = new byte[0];
        }
        int length = index % 5000 == 4999 ? 60_000 : (int) (x % 200) + 1;
        byte[] value = java.util.Arrays.copyOfRange(PATTERN, (int) (x & 255), (int) (x & 255) + length);
        if (index % 16 == 6) value = null;
        else if (index % 16 == 12) value = new byte[0];
        List<Header> headers = new ArrayList<>();
        switch (index % 4) {
            case 1 -> headers.add(new RecordHeader("a", text("" + x)));
            case 2 -> {
                headers.add(new RecordHeader("a", text("1")));
                headers.add(new RecordHeader("a", text("2")));
                headers.add(new RecordHeader("b", new byte[0]));
            }
            case 3 -> headers.add(new RecordHeader("größe", text(Long.toHexString(x))));
            default -> { }
        }
        long timestamp = base + index - (index % 7 == 0 ? 50 : 0);
        return new ProducerRecord<>(topic, partition, timestamp, key, value, headers);
    }

    static byte[] text(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static Object produce(JsonNode c, String topic, int partitions) throws Exception {
        Map<String, Object> more = new HashMap<>();
        more.put("compression.type", c.path("codec").asText("none"));
        more.put("acks", c.path("acks").asText("all"));
        // On by default here: without it, a retry may overtake what was sent after it.
        if (c.has("idempotent")) more.put("enable.idempotence", c.path("idempotent").asBoolean());
        more.put("linger.ms", 20);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings(more), new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int index = 0; index < c.path("count").asInt(); index++)
                sent.add(producer.send(made(topic, c.path("seed").asLong(), index, c.path("base").asLong(), partitions,
                        c.path("profile").asText("full"))));
            producer.flush();
        }
        for (var one : sent) one.get(1, TimeUnit.SECONDS);
        return Map.of("acked", sent.size());
    }

    static Object send(JsonNode c, String topic) throws Exception {
        Integer partition = c.hasNonNull("partition") ? c.path("partition").asInt() : null;
        Long timestamp = c.path("timestamp").asLong() > 0 ? c.path("timestamp").asLong() : null;
        Map<String, Object> more = Map.of("max.request.size", 10_000_000, "max.block.ms", 8000, "delivery.timeout.ms", 8000,
                "request.timeout.ms", 4000, "linger.ms", 0);
        try (var producer = new KafkaProducer<>(settings(more), new ByteArraySerializer(), new ByteArraySerializer())) {
            byte[] value = text("x".repeat(c.path("size").asInt(10)));
            RecordMetadata placed = wait(producer.send(new ProducerRecord<>(topic, partition, timestamp, null, value)));
            return Map.of("partition", placed.partition(), "offset", placed.offset());
        }
    }

    static KafkaConsumer<byte[], byte[]> consumer() {
        return new KafkaConsumer<>(settings(Map.of("auto.offset.reset", "none", "enable.auto.commit", false, "max.poll.records", 5000,
                "allow.auto.create.topics", false)), new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static Object read(String topic, int partitions, String dump) throws Exception {
        Digest[] digests = new Digest[partitions];
        List<TopicPartition> places = new ArrayList<>();
        for (int p = 0; p < partitions; p++) {
            digests[p] = new Digest(dump == null ? null : dump + "." + p);
            places.add(new TopicPartition(topic, p));
        }
        try (var consumer = consumer()) {
            long wanted = 0;
            for (long offset : consumer.endOffsets(places).values()) wanted += offset;
            for (long offset : consumer.beginningOffsets(places).values()) wanted -= offset;
            consumer.assign(places);
            consumer.seekToBeginning(places);
            long deadline = System.nanoTime() + 90_000_000_000L;
            while (wanted > 0 && System.nanoTime() < deadline)
                for (var found : consumer.poll(Duration.ofSeconds(1))) {
                    digests[found.partition()].add(found);
                    wanted--;
                }
        }
        List<Object> results = new ArrayList<>();
        for (Digest digest : digests) results.add(digest.result());
        return Map.of("partitions", results);
    }

    static Object fetch(String topic, int partition, long offset) {
        try (var consumer = consumer()) {
            TopicPartition place = new TopicPartition(topic, partition);
            consumer.assign(List.of(place));
            consumer.seek(place, offset);
            for (int attempt = 0; attempt < 20; attempt++)
                for (var found : consumer.poll(Duration.ofSeconds(1)))
                    return Map.of("offset", found.offset(), "timestamp", found.timestamp(), "time_type",
                            switch (found.timestampType()) {
                                case CREATE_TIME -> "create";
                                case LOG_APPEND_TIME -> "append";
                                default -> "none";
                            });
        }
        return null;
    }

    // Thrown where a tool would end the process.
    static class Left extends RuntimeException { }

    // Runs a tool as its script would, in this process: a start of Java a call would cost more than all calls together.
    static Object tool(String name, List<String> words, String input) throws Exception {
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream out = System.out, err = System.err;
        var in = System.in;
        // Some tools catch what is thrown here and leave once more, with another status: the first is meant.
        int[] first = {-1};
        Exit.Procedure leave = (status, message) -> {
            if (first[0] < 0) first[0] = status;
            throw new Left();
        };
        Exit.setExitProcedure(leave);
        Exit.setHaltProcedure(leave);
        // The console producer sends its last records as the process ends.
        List<Runnable> last = new ArrayList<>();
        Exit.setShutdownHookAdder((hook, runnable) -> last.add(runnable));
        System.setIn(new java.io.ByteArrayInputStream(text(input)));
        PrintStream both = new PrintStream(printed, true, StandardCharsets.UTF_8);
        System.setOut(both);
        System.setErr(both);
        try {
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) words.toArray(new String[0]));
        } catch (InvocationTargetException thrown) {
            if (!(thrown.getCause() instanceof Left)) throw (Exception) thrown.getCause();
        } finally {
            last.forEach(Runnable::run);
            both.flush();
            System.setOut(out);
            System.setErr(err);
            System.setIn(in);
            Exit.resetExitProcedure();
            Exit.resetHaltProcedure();
            Exit.resetShutdownHookAdder();
        }
        return Map.of("status", Math.max(first[0], 0), "printed", printed.toString(StandardCharsets.UTF_8));
    }

    static class Digest {
        final HexFormat hex = HexFormat.of();
        final MessageDigest content = MessageDigest.getInstance("SHA-256"), times = MessageDigest.getInstance("SHA-256");
        final OutputStream dump;
        int count;

        Digest(String path) throws Exception {
            dump = path == null ? null : new BufferedOutputStream(new FileOutputStream(path));
        }

        void add(ConsumerRecord<byte[], byte[]> found) throws Exception {
            List<String> headers = new ArrayList<>();
            for (Header header : found.headers()) headers.add(hex.formatHex(text(header.key())) + ":" + spelled(header.value()));
            byte[] line = text(found.offset() + " " + spelled(found.key()) + " " + spelled(found.value()) + " " + String.join(";", headers) + "\n");
            count++;
            content.update(line);
            times.update(text(found.offset() + " " + found.timestamp() + "\n"));
            if (dump != null) {
                dump.write(text(found.timestamp() + " "));
                dump.write(line);
            }
        }

        String spelled(byte[] data) {
            return data == null ? "-" : hex.formatHex(data);
        }

        Object result() throws Exception {
            if (dump != null) dump.close();
            return Map.of("count", count, "content", hex.formatHex(content.digest()), "times", hex.formatHex(times.digest()));
        }
    }
}
