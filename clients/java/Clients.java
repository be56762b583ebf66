// The CloudEvents SDK for Java: posts in each mode, or (with the argument `consume`) reads `events-input`.

import com.fasterxml.jackson.databind.ObjectMapper;
import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.http.HttpMessageFactory;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.kafka.CloudEventDeserializer;
import java.io.ByteArrayOutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.utils.AppInfoParser;

public class Clients {
    static final ObjectMapper JSON = new ObjectMapper();
    static final String URL = System.getenv("CLIENTS_URL");
    static final String TOKEN = "Bearer " + System.getenv("CLIENTS_TOKEN");
    static final Map<String, Object> PAYLOAD = Map.of("temp_c", 37.5, "status", "online", "note", "größer als 100 %");
    static final String SDK = version(CloudEvent.class);

    interface Mode {
        Map<String, Object> run(String device) throws Exception;
    }

    static String version(Class<?> of) {
        return of.getProtectionDomain().getCodeSource().getLocation().getPath().replaceAll(".*-([0-9.]+)\\.jar", "$1");
    }

    static void print(Map<String, Object> line) throws Exception {
        System.out.println(JSON.writeValueAsString(line));
    }

    static void attempt(String client, String version, String mode, Mode of) throws Exception {
        var line = new LinkedHashMap<String, Object>(Map.of("client", client, "version", version, "mode", mode));
        var device = (client + " " + mode).toLowerCase().replaceAll("[^a-z0-9]+", "-");
        try {
            line.put("sent", of.run(device));
        } catch (Exception error) {
            line.put("error", error.toString());
        }
        print(line);
    }

    static CloudEvent event(String device) throws Exception {
        return CloudEventBuilder.v1().withId(device + "-1").withSource(URI.create("/clients"))
            .withType("io.edge.device.reported.v1").withSubject(device).withExtension("note", "100%")
            .withData("application/json", JSON.writeValueAsBytes(PAYLOAD)).build();
    }

    static void check(int status, int wanted, String body) {
        if (status != wanted) throw new IllegalStateException(status + " instead of " + wanted + ": " + body);
    }

    /** By the SDK's writer and the JDK's older client, as the SDK's documentation shows it. */
    static Map<String, Object> send(String device, boolean binary) throws Exception {
        var connection = (HttpURLConnection) URI.create(URL + "/events").toURL().openConnection();
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        connection.setRequestProperty("Authorization", TOKEN);
        var body = new ByteArrayOutputStream();
        var writer = HttpMessageFactory.createWriter(connection::setRequestProperty, body::writeBytes);
        if (binary) writer.writeBinary(event(device));
        else writer.writeStructured(event(device), new JsonFormat());
        connection.getOutputStream().write(body.toByteArray());
        int status = connection.getResponseCode();
        var answer = status < 400 ? connection.getInputStream() : connection.getErrorStream();
        check(status, 202, new String(answer.readAllBytes()));
        return Map.of(device, PAYLOAD);
    }

    static void post(HttpClient client, String path, String type, byte[] body, int wanted) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(URL + path)).header("Authorization", TOKEN)
            .header("Content-Type", type).POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
        var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
        check(answer.statusCode(), wanted, answer.body());
    }

    static void posts() throws Exception {
        var sdk = "CloudEvents SDK (Java)";
        attempt(sdk, SDK, "binary", device -> send(device, true));
        attempt(sdk, SDK, "structured", device -> send(device, false));
        // The SDK has no batch: an array of the events that it writes.
        attempt(sdk, SDK, "batched", device -> {
            var format = new JsonFormat();
            var one = new String(format.serialize(event(device + "-1")), "UTF-8");
            var two = new String(format.serialize(event(device + "-2")), "UTF-8");
            var body = ("[" + one + "," + two + "]").getBytes("UTF-8");
            post(HttpClient.newHttpClient(), "/events/batch", "application/cloudevents-batch+json", body, 202);
            return Map.of(device + "-1", PAYLOAD, device + "-2", PAYLOAD);
        });
        // Its default offers HTTP/2 (`Upgrade: h2c`), which the API leaves aside.
        var jdk = System.getProperty("java.version");
        attempt("java.net.http", jdk, "Upgrade: h2c offered, 20 POSTs", device -> {
            var client = HttpClient.newHttpClient();
            for (int n = 0; n < 20; n++) {
                var event = Map.of("device_id", device, "event_id", "e" + n, "payload", PAYLOAD);
                post(client, "/events", "application/json", JSON.writeValueAsBytes(event), 202);
            }
            return Map.of(device, PAYLOAD);
        });
        attempt("java.net.http", jdk, "20 MB: reads the 413", device -> {
            post(HttpClient.newHttpClient(), "/events", "application/json", new byte[20_000_000], 413);
            return Map.of();
        });
    }

    static List<Object> records(String topic) throws Exception {
        var found = new ArrayList<Object>();
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", System.getenv("CLIENTS_BROKERS"), "isolation.level", "read_committed");
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new CloudEventDeserializer())) {
            var partitions = consumer.partitionsFor(topic).stream()
                .map(each -> new TopicPartition(each.topic(), each.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(each -> consumer.position(each) < ends.get(each))) {
                for (var record : consumer.poll(Duration.ofSeconds(30))) {
                    var event = record.value();
                    var data = JSON.readValue(event.getData().toBytes(), Map.class);
                    var more = new LinkedHashMap<String, Object>();
                    for (var name : List.of("partitionkey", "sequence", "correlationid", "causationid")) {
                        more.put(name, event.getExtension(name));
                    }
                    found.add(List.of(event.getSubject(), event.getId(), event.getType(), data, more));
                }
            }
        }
        return found;
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 0) {
            posts();
            return;
        }
        // `consume`, and the topic.
        var topic = args.length > 1 ? args[1] : "events-input";
        var line = new LinkedHashMap<String, Object>(Map.of(
            "client", "kafka-clients, CloudEvents SDK (Java)", "version", AppInfoParser.getVersion() + ", " + SDK,
            "mode", "reads " + topic));
        try {
            line.put("read", records(topic));
        } catch (Exception error) {
            line.put("error", error.toString());
        }
        print(line);
    }
}
