module ouzel/clients

go 1.23

require github.com/segmentio/kafka-go v0.4.51

require (
	github.com/klauspost/compress v1.15.9 // indirect
	// Newer than kafka-go asks for: 4.1.15 takes the block checksums of aiokafka's frames for wrong.
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
)
