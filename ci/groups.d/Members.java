// Members of Apache Kafka's own Java client (kafka-clients). Arguments: bootstrap address. Driven and heard as member.py says.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class Members {
    static final ObjectMapper JSON = new ObjectMapper();
    // Not System.out, which loggers may print to.
    static final FileOutputStream LEDGER = new FileOutputStream(FileDescriptor.out);
    static final Map<String, Member> MEMBERS = new ConcurrentHashMap<>();

    public static void main(String[] arguments) throws Exception {
        System.setOut(System.err);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            JsonNode command = JSON.readTree(line);
            String name = command.path("name").asText();
            if (command.path("do").asText().equals("start")) {
                Member member = new Member(arguments[0], command);
                MEMBERS.put(name, member);
                Thread thread = new Thread(member, name);
                thread.setDaemon(true);
                thread.start();
            } else {
                MEMBERS.get(name).closing = true;
            }
        }
        Runtime.getRuntime().halt(0);
    }

    static class Member implements Runnable, ConsumerRebalanceListener {
        final String name;
        final JsonNode settings;
        final Properties properties = new Properties();
        final Set<String> owned = new TreeSet<>();
        final Map<TopicPartition, Long> positions = new HashMap<>();
        final Map<String, long[]> pending = new TreeMap<>();
        volatile boolean closing;
        KafkaConsumer<byte[], byte[]> consumer;

        Member(String bootstrap, JsonNode settings) {
            this.settings = settings;
            name = settings.path("name").asText();
            properties.put("bootstrap.servers", bootstrap);
            properties.put("group.id", settings.path("group").asText());
            properties.put("client.id", name);
            properties.put("enable.auto.commit", "false");
            properties.put("auto.offset.reset", "earliest");
            properties.put("fetch.max.wait.ms", "100");
            properties.put("metadata.max.age.ms", "2000");
            properties.put("reconnect.backoff.max.ms", "500");
            if (settings.path("protocol").asText().equals("consumer")) {
                properties.put("group.protocol", "consumer");
            } else {
                properties.put("group.protocol", "classic");
                properties.put("session.timeout.ms", settings.path("session_ms").asText());
                properties.put("heartbeat.interval.ms", "500");
                properties.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + switch (settings.path("assignor").asText()) {
                    case "cooperative" -> "CooperativeStickyAssignor";
                    case "roundrobin" -> "RoundRobinAssignor";
                    default -> "RangeAssignor";
                });
            }
            if (settings.hasNonNull("instance")) properties.put("group.instance.id", settings.path("instance").asText());
        }

        @Override
        public void run() {
            try {
                consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
                List<String> topics = new ArrayList<>();
                settings.path("topics").forEach(topic -> topics.add(topic.asText()));
                consumer.subscribe(topics, this);
                long committed = System.nanoTime();
                while (!closing) {
                    for (var record : consumer.poll(Duration.ofMillis(100))) processed(record);
                    flush();
                    if (System.nanoTime() - committed >= settings.path("commit_ms").asLong() * 1_000_000) {
                        commit(positions.keySet());
                        committed = System.nanoTime();
                    }
                }
                consumer.close();
                if (!owned.isEmpty()) {
                    // A static member keeps its partitions for its return; it does not read them any more.
                    owned.clear();
                    owns(null);
                }
                say("closed", Map.of());
            } catch (Exception error) {
                error.printStackTrace();
                say("failed", Map.of("why", error.toString()));
            }
        }

        void processed(ConsumerRecord<byte[], byte[]> record) {
            String place = record.topic() + "/" + record.partition();
            long[] range = pending.get(place);
            if (range != null && range[1] != record.offset() - 1) {
                flush();
                range = null;
            }
            if (range == null) pending.put(place, new long[] {record.offset(), record.offset()});
            else range[1] = record.offset();
            positions.put(new TopicPartition(record.topic(), record.partition()), record.offset() + 1);
        }

        void flush() {
            if (!pending.isEmpty()) say("read", Map.of("at", pending));
            pending.clear();
        }

        void commit(Collection<TopicPartition> places) {
            flush();
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            Map<String, Long> acked = new HashMap<>();
            for (TopicPartition place : places) {
                Long at = positions.get(place);
                if (at == null) continue;
                offsets.put(place, new OffsetAndMetadata(at));
                acked.put(place.topic() + "/" + place.partition(), at);
            }
            if (offsets.isEmpty()) return;
            try {
                consumer.commitSync(offsets, Duration.ofSeconds(10));
                say("acked", Map.of("at", acked));
            } catch (KafkaException error) {
                say("refused", Map.of("why", error.toString()));
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
            for (TopicPartition place : assigned) owned.add(place.topic() + "/" + place.partition());
            owns(consumer.groupMetadata().generationId());
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
            commit(revoked);
            onPartitionsLost(revoked);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> lost) {
            for (TopicPartition place : lost) {
                owned.remove(place.topic() + "/" + place.partition());
                positions.remove(place);
            }
            owns(null);
        }

        void owns(Integer generation) {
            flush();
            Map<String, Object> facts = new HashMap<>();
            facts.put("at", owned);
            facts.put("generation", generation);
            say("owns", facts);
        }

        void say(String event, Map<String, Object> facts) {
            Map<String, Object> line = new HashMap<>(facts);
            line.put("m", name);
            // The machine's monotonic clock, which all processes share.
            line.put("t", System.nanoTime());
            line.put("e", event);
            try {
                byte[] bytes = (JSON.writeValueAsString(line) + "\n").getBytes(StandardCharsets.UTF_8);
                synchronized (LEDGER) {
                    LEDGER.write(bytes);
                }
            } catch (java.io.IOException error) {
                Runtime.getRuntime().halt(1);
            }
        }
    }
}
