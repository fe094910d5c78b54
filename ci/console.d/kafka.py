"""Sends a record as no command line does, over Kafka's protocol: with any time."""
import socket
import struct

ANSWER_WITHIN_S = 60


def produce(address, topic, value, timestamp):
    """One record to partition 0. The broker looks at the highest time in the header of a batch; that of the record is another."""
    host, port = address.rsplit(":", 1)
    request = _produce_request(topic, _batch(value, timestamp))
    with socket.create_connection((host, int(port)), ANSWER_WITHIN_S) as connection, connection.makefile("rb") as answers:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = answers.read(struct.unpack(">i", answers.read(4))[0])
    # Correlation id, one topic with its name, one partition with its number.
    (error,) = struct.unpack_from(">h", answer, 4 + 4 + 2 + len(topic) + 4 + 4)
    if error:
        raise RuntimeError(f"a record of time {timestamp} was refused with error {error}")


def _produce_request(topic, batch):
    """Version 3 of Produce, of a client without a name, outside a transaction; answered once it is durable."""
    name = topic.encode()
    return (struct.pack(">hhih hhi ih", 0, 3, 1, -1, -1, -1, 30_000, 1, len(name)) + name
            + struct.pack(">iii", 1, 0, len(batch)) + batch)


def _batch(value, timestamp):
    """docs/formats/batches.md has the layout."""
    body = b"\0" + _varint(0) + _varint(0) + _varint(-1) + _varint(len(value)) + value + _varint(0)
    records = _varint(len(body)) + body
    behind_crc = struct.pack(">hiqqqhii", 0, 0, timestamp, 0, -1, -1, -1, 1) + records
    behind_length = struct.pack(">ibI", -1, 2, _crc32c(behind_crc)) + behind_crc
    return struct.pack(">qi", 0, len(behind_length)) + behind_length


def _varint(number):
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def _crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
