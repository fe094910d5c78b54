// segmentio/kafka-go. Arguments: bootstrap address.
// One JSON object a line on stdin, one reply a line on stdout, as serve.py does it; the records are those of records.py.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

type command struct {
	Do, Topic, Codec, Profile, Acks, Name, Value, At, Dump string
	Partitions, Count, Size, Replicas                      int
	Partition                                              *int
	Seed, Base, Offset, Timestamp                          int64
	Idempotent                                             bool
	Configs                                                map[string]string
}

type object = map[string]any

var errUnsupported = errors.New("no such thing")

var (
	bootstrap string
	client    *kafka.Client
	pattern   = make([]byte, 256+60_000)
	transport *kafka.Transport
)

func main() {
	for i := range pattern {
		pattern[i] = byte(7 * i)
	}
	bootstrap = os.Args[1]
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		c := command{Replicas: 1, Size: 10, Codec: "none", Acks: "all"}
		if err := json.Unmarshal(line, &c); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		result, err := done(c)
		reply := object{"ok": result}
		if errors.Is(err, errUnsupported) {
			reply = object{"unsupported": c.Do}
		} else if err != nil {
			fmt.Fprintln(os.Stderr, err)
			reply = object{"error": object{"code": codeOf(err), "text": err.Error()}}
		}
		encoded, _ := json.Marshal(reply)
		fmt.Println(string(encoded))
	}
}

// The error code of Kafka that an error carries, or nothing.
func codeOf(err error) any {
	var all kafka.WriteErrors
	if errors.As(err, &all) {
		for _, one := range all {
			if one != nil {
				return codeOf(one)
			}
		}
	}
	var large kafka.MessageTooLargeError
	if errors.As(err, &large) {
		return int(kafka.MessageSizeTooLarge)
	}
	var code kafka.Error
	if errors.As(err, &code) {
		return int(code)
	}
	return nil
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/segmentio/kafka-go" {
			return strings.TrimPrefix(module.Version, "v")
		}
	}
	return "unknown"
}

func firstError(found map[string]error) error {
	for _, err := range found {
		if err != nil {
			return err
		}
	}
	return nil
}

func done(c command) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 120*time.Second)
	defer cancel()
	// Made anew for each command: a transport answers questions about topics from what it heard seconds ago.
	transport = &kafka.Transport{MetadataTTL: time.Second}
	defer transport.CloseIdleConnections()
	client = &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 30 * time.Second, Transport: transport}
	partition := -1
	if c.Partition != nil {
		partition = *c.Partition
	}
	switch c.Do {
	case "hello":
		return object{"name": "kafka-go", "version": version(), "codecs": []string{"gzip", "snappy", "lz4", "zstd"}}, nil
	case "create":
		config := kafka.TopicConfig{Topic: c.Topic, NumPartitions: c.Partitions, ReplicationFactor: c.Replicas}
		for name, value := range c.Configs {
			config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
		}
		found, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
		if err != nil {
			return nil, err
		}
		return nil, firstError(found.Errors)
	case "delete":
		found, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{c.Topic}})
		if err != nil {
			return nil, err
		}
		return nil, firstError(found.Errors)
	case "list", "describe", "cluster":
		return metadata(ctx, c)
	case "grow":
		found, err := client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{
			Topics: []kafka.TopicPartitionsConfig{{Name: c.Topic, Count: int32(c.Partitions)}}})
		if err != nil {
			return nil, err
		}
		return nil, firstError(found.Errors)
	case "config_get":
		found, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
			{ResourceType: kafka.ResourceTypeTopic, ResourceName: c.Topic, ConfigNames: []string{c.Name}}}})
		if err != nil {
			return nil, err
		}
		resource := found.Resources[0]
		if resource.Error != nil {
			return nil, resource.Error
		}
		if len(resource.ConfigEntries) != 1 {
			return nil, fmt.Errorf("%d configs for one name", len(resource.ConfigEntries))
		}
		return object{"value": resource.ConfigEntries[0].ConfigValue, "source": resource.ConfigEntries[0].ConfigSource}, nil
	case "config_set":
		found, err := client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
			Resources: []kafka.IncrementalAlterConfigsRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: c.Topic,
				Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: c.Name, Value: c.Value, ConfigOperation: kafka.ConfigOperationSet}}}}})
		if err != nil {
			return nil, err
		}
		return nil, found.Resources[0].Error
	case "config_replace":
		found, err := client.AlterConfigs(ctx, &kafka.AlterConfigsRequest{Resources: []kafka.AlterConfigRequestResource{
			{ResourceType: kafka.ResourceTypeTopic, ResourceName: c.Topic, Configs: []kafka.AlterConfigRequestConfig{{Name: c.Name, Value: c.Value}}}}})
		if err != nil {
			return nil, err
		}
		for _, err := range found.Errors {
			if err != nil {
				return nil, err
			}
		}
		return nil, nil
	case "offset":
		return offset(ctx, c.Topic, partition, c.At)
	case "produce":
		return produce(ctx, c)
	case "send":
		return send(ctx, c)
	case "read":
		return read(ctx, c)
	case "fetch":
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, Topic: c.Topic, Partition: partition, MinBytes: 1,
			MaxBytes: 10_000_000, MaxWait: time.Second, OffsetOutOfRangeError: true, MaxAttempts: 2})
		defer r.Close()
		if err := r.SetOffset(c.Offset); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		defer cancel()
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return nil, err
		}
		return object{"offset": m.Offset, "time_type": nil, "timestamp": m.Time.UnixMilli()}, nil
	}
	return nil, errUnsupported
}

func metadata(ctx context.Context, c command) (any, error) {
	request := &kafka.MetadataRequest{}
	if c.Do == "describe" {
		request.Topics = []string{c.Topic}
	}
	found, err := client.Metadata(ctx, request)
	if err != nil {
		return nil, err
	}
	switch c.Do {
	case "list":
		names := []string{}
		for _, topic := range found.Topics {
			names = append(names, topic.Name)
		}
		sort.Strings(names)
		return names, nil
	case "cluster":
		known := false
		for _, broker := range found.Brokers {
			known = known || broker.ID == found.Controller.ID
		}
		return object{"brokers": len(found.Brokers), "controller_is_a_broker": known, "has_id": found.ClusterID != ""}, nil
	}
	topic := found.Topics[0]
	if topic.Error != nil {
		return nil, topic.Error
	}
	sort.Slice(topic.Partitions, func(i, j int) bool { return topic.Partitions[i].ID < topic.Partitions[j].ID })
	partitions := []object{}
	for _, p := range topic.Partitions {
		partitions = append(partitions, object{"id": p.ID, "leader": p.Leader.ID, "replicas": len(p.Replicas), "isr": len(p.Isr)})
	}
	return object{"partitions": partitions}, nil
}

func offset(ctx context.Context, topic string, partition int, at string) (any, error) {
	asked := kafka.OffsetRequest{Partition: partition}
	switch at {
	case "earliest":
		asked.Timestamp = kafka.FirstOffset
	case "latest":
		asked.Timestamp = kafka.LastOffset
	case "max":
		return nil, errUnsupported
	default:
		asked.Timestamp, _ = strconv.ParseInt(at, 10, 64)
	}
	found, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: {asked}}})
	if err != nil {
		return nil, err
	}
	p := found.Topics[topic][0]
	if p.Error != nil {
		return nil, p.Error
	}
	switch at {
	case "earliest":
		return p.FirstOffset, nil
	case "latest":
		return p.LastOffset, nil
	}
	for offset := range p.Offsets {
		return offset, nil
	}
	return -1, nil
}

func made(seed int64, index int, base int64, partitions int, profile string) kafka.Message {
	x := uint32(index)*2654435761 + uint32(seed)*40503
	x ^= x >> 15
	m := kafka.Message{Key: []byte(fmt.Sprintf("key-%d", x%1000)), WriterData: -1}
	if profile == "text" {
		m.Value = []byte(fmt.Sprintf("value-%d-%d", index, x))
		return m
	}
	if index%10 == 3 {
		m.Key, m.WriterData = nil, index%partitions
	} else if index%10 == 7 {
		m.Key = []byte{}
	}
	length := int(x%200) + 1
	if index%5000 == 4999 {
		length = 60_000
	}
	m.Value = pattern[x&255 : int(x&255)+length]
	if index%16 == 6 {
		m.Value = nil
	} else if index%16 == 12 {
		m.Value = []byte{}
	}
	switch index % 4 {
	case 1:
		m.Headers = []kafka.Header{{Key: "a", Value: []byte(fmt.Sprint(x))}}
	case 2:
		m.Headers = []kafka.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "b", Value: []byte{}}}
	case 3:
		m.Headers = []kafka.Header{{Key: "größe", Value: []byte(fmt.Sprintf("%x", x))}}
	}
	timestamp := base + int64(index)
	if index%7 == 0 {
		timestamp -= 50
	}
	m.Time = time.UnixMilli(timestamp)
	return m
}

// A key decides by murmur2, as with Java; a record without one says itself where it goes.
func balance(m kafka.Message, partitions ...int) int {
	if chosen, ok := m.WriterData.(int); ok && chosen >= 0 {
		return chosen
	}
	return kafka.Murmur2Balancer{}.Balance(m, partitions...)
}

func writer(c command) *kafka.Writer {
	codecs := map[string]kafka.Compression{"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd}
	acks := map[string]kafka.RequiredAcks{"all": kafka.RequireAll, "1": kafka.RequireOne, "0": kafka.RequireNone}
	return &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: c.Topic, Balancer: kafka.BalancerFunc(balance), Compression: codecs[c.Codec],
		RequiredAcks: acks[c.Acks], BatchSize: 1000, BatchBytes: 900_000, BatchTimeout: 20 * time.Millisecond, Transport: transport,
		AllowAutoTopicCreation: true, MaxAttempts: 5}
}

func produce(ctx context.Context, c command) (any, error) {
	if c.Idempotent {
		return nil, errUnsupported
	}
	w := writer(c)
	messages := make([]kafka.Message, c.Count)
	for index := range messages {
		messages[index] = made(c.Seed, index, c.Base, c.Partitions, c.Profile)
	}
	if err := w.WriteMessages(ctx, messages...); err != nil {
		return nil, err
	}
	return object{"acked": c.Count}, w.Close()
}

func send(ctx context.Context, c command) (any, error) {
	w := writer(c)
	w.BatchBytes = 10_000_000
	m := kafka.Message{Value: []byte(strings.Repeat("x", c.Size)), WriterData: -1}
	if c.Timestamp > 0 {
		m.Time = time.UnixMilli(c.Timestamp)
	}
	if c.Partition != nil {
		m.WriterData = *c.Partition
	}
	// The writer says where a record went only to this function.
	placed := object{"partition": nil, "offset": nil}
	w.Completion = func(messages []kafka.Message, err error) {
		if err == nil {
			placed["partition"], placed["offset"] = messages[0].Partition, messages[0].Offset
		}
	}
	err := w.WriteMessages(ctx, m)
	for attempt := 0; attempt < 8 && (errors.Is(err, kafka.LeaderNotAvailable) || codeOf(err) == int(kafka.UnknownTopicOrPartition)); attempt++ {
		// As its documentation advises where a topic is made by sending to it.
		time.Sleep(250 * time.Millisecond)
		err = w.WriteMessages(ctx, m)
	}
	if err != nil {
		return nil, err
	}
	return placed, w.Close()
}

type digest struct {
	count          int
	content, times hash.Hash
	dump           *bufio.Writer
	file           *os.File
}

func spelled(data []byte) string {
	if data == nil {
		return "-"
	}
	return hex.EncodeToString(data)
}

func (d *digest) add(m kafka.Message) {
	headers := []string{}
	for _, h := range m.Headers {
		headers = append(headers, hex.EncodeToString([]byte(h.Key))+":"+spelled(h.Value))
	}
	line := fmt.Sprintf("%d %s %s %s\n", m.Offset, spelled(m.Key), spelled(m.Value), strings.Join(headers, ";"))
	d.count++
	d.content.Write([]byte(line))
	fmt.Fprintf(d.times, "%d %d\n", m.Offset, m.Time.UnixMilli())
	if d.dump != nil {
		fmt.Fprintf(d.dump, "%d %s", m.Time.UnixMilli(), line)
	}
}

// Reads what one fetch gives and returns the offset to go on from. kafka.Reader would not do: to it, null is empty.
func fetchInto(ctx context.Context, d *digest, topic string, partition int, at int64) (int64, error) {
	found, err := client.Fetch(ctx, &kafka.FetchRequest{Topic: topic, Partition: partition, Offset: at, MinBytes: 1, MaxBytes: 10_000_000,
		MaxWait: time.Second})
	if err != nil {
		return at, err
	}
	if found.Error != nil {
		return at, found.Error
	}
	for {
		record, err := found.Records.ReadRecord()
		if err == io.EOF {
			return at, nil
		} else if err != nil {
			return at, err
		}
		m := kafka.Message{Offset: record.Offset, Time: record.Time, Headers: record.Headers}
		if m.Key, err = kafka.ReadAll(record.Key); err != nil {
			return at, err
		}
		if m.Value, err = kafka.ReadAll(record.Value); err != nil {
			return at, err
		}
		// The batch may begin before the offset that was asked for.
		if record.Offset >= at {
			d.add(m)
			at = record.Offset + 1
		}
	}
}

func read(ctx context.Context, c command) (any, error) {
	results := []object{}
	for p := 0; p < c.Partitions; p++ {
		d := &digest{content: sha256.New(), times: sha256.New()}
		if c.Dump != "" {
			file, err := os.Create(fmt.Sprintf("%s.%d", c.Dump, p))
			if err != nil {
				return nil, err
			}
			d.file, d.dump = file, bufio.NewWriter(file)
		}
		end, err := offset(ctx, c.Topic, p, "latest")
		if err != nil {
			return nil, err
		}
		first, err := offset(ctx, c.Topic, p, "earliest")
		if err != nil {
			return nil, err
		}
		for at := first.(int64); at < end.(int64); {
			if at, err = fetchInto(ctx, d, c.Topic, p, at); err != nil {
				return nil, err
			}
		}
		if d.dump != nil {
			d.dump.Flush()
			d.file.Close()
		}
		results = append(results, object{"count": d.count, "content": hex.EncodeToString(d.content.Sum(nil)),
			"times": hex.EncodeToString(d.times.Sum(nil))})
	}
	return object{"partitions": results}, nil
}
