// kafkajs. Arguments: bootstrap address.
// One JSON object a line on stdin, one reply a line on stdout, as serve.py does it; the records are those of records.py.
'use strict'

const { createHash } = require('crypto')
const fs = require('fs')
const readline = require('readline')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, Partitioners, logLevel } = require('kafkajs')
const Cluster = require('kafkajs/src/cluster')
const { createLogger } = require('kafkajs/src/loggers')
const defaultSocketFactory = require('kafkajs/src/network/socketFactory')
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')

// What kafkajs lacks, plugged in as its documentation says.
CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrameSync(encoder.buffer),
  decompress: async buffer => lz4.decompressFrameSync(buffer),
})
const zstdReady = new Promise(resolve => ZstdCodec.run(zstd => resolve({ simple: new zstd.Simple(), streaming: new zstd.Streaming() })))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from((await zstdReady).simple.compress(encoder.buffer)),
  // Java and librdkafka leave the size out of the frame, which only the streaming interface takes.
  decompress: async buffer => Buffer.from((await zstdReady).streaming.decompress(buffer)),
})
const CODECS = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }

const bootstrap = process.argv[2]
const onStderr = () => ({ namespace, level, log }) => process.stderr.write(JSON.stringify({ namespace, level, ...log }) + '\n')
const common = { brokers: [bootstrap], logLevel: logLevel.INFO, logCreator: onStderr, retry: { retries: 4 } }
const kafka = new Kafka({ clientId: 'clients', ...common })
const admin = kafka.admin()

const PATTERN = Buffer.alloc(256 + 60000)
for (let i = 0; i < PATTERN.length; i++) PATTERN[i] = 7 * i

function made(seed, index, base, partitions, profile) {
  let x = (Math.imul(index, 2654435761) + Math.imul(seed, 40503)) >>> 0
  x = (x ^ (x >>> 15)) >>> 0
  if (profile === 'text') return { key: `key-${x % 1000}`, value: `value-${index}-${x}` }
  const message = { key: Buffer.from(`key-${x % 1000}`), timestamp: String(base + index - (index % 7 === 0 ? 50 : 0)) }
  if (index % 10 === 3) {
    message.key = null
    message.partition = index % partitions
  } else if (index % 10 === 7) {
    message.key = Buffer.alloc(0)
  }
  const length = index % 5000 === 4999 ? 60000 : (x % 200) + 1
  message.value = PATTERN.subarray(x & 255, (x & 255) + length)
  if (index % 16 === 6) message.value = null
  else if (index % 16 === 12) message.value = Buffer.alloc(0)
  message.headers = [
    {},
    { a: String(x) },
    { a: ['1', '2'], b: Buffer.alloc(0) },
    { größe: x.toString(16) },
  ][index % 4]
  return message
}

const spelled = data => (data === null || data === undefined ? '-' : Buffer.from(data).toString('hex'))

class Digest {
  constructor(dump) {
    this.count = 0
    this.content = createHash('sha256')
    this.times = createHash('sha256')
    this.dump = dump ? fs.openSync(dump, 'w') : null
  }

  add({ offset, key, value, headers, timestamp }) {
    const pairs = Object.keys(headers || {}).flatMap(name =>
      [headers[name]].flat().map(data => `${Buffer.from(name).toString('hex')}:${spelled(data)}`))
    const line = `${offset} ${spelled(key)} ${spelled(value)} ${pairs.join(';')}\n`
    this.count++
    this.content.update(line)
    this.times.update(`${offset} ${timestamp}\n`)
    if (this.dump !== null) fs.writeSync(this.dump, `${timestamp} ${line}`)
  }

  result() {
    if (this.dump !== null) fs.closeSync(this.dump)
    return { count: this.count, content: this.content.digest('hex'), times: this.times.digest('hex') }
  }
}

class Unsupported extends Error {}

// kafkajs has no consumer without a group: this is its own cluster, as its consumer uses it, without the group.
async function withCluster(work) {
  const cluster = new Cluster({
    logger: createLogger({ level: logLevel.INFO, logCreator: onStderr }), retry: common.retry, offsets: new Map(),
    socketFactory: defaultSocketFactory(), brokers: [bootstrap], clientId: 'clients', connectionTimeout: 5000,
    requestTimeout: 30000, enforceRequestTimeout: true, metadataMaxAge: 300000, allowAutoTopicCreation: false,
    maxInFlightRequests: null, isolationLevel: 0,
  })
  await cluster.connect()
  try {
    return await work(cluster)
  } finally {
    await cluster.disconnect()
  }
}

async function fetchFrom(cluster, topic, partition, offset) {
  const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))
  const broker = await cluster.findBroker({ nodeId })
  const { responses } = await broker.fetch({
    replicaId: -1, isolationLevel: 0, maxWaitTime: 1000, minBytes: 1, maxBytes: 10485760,
    topics: [{ topic, partitions: [{ partition, fetchOffset: String(offset), maxBytes: 10485760 }] }],
  })
  // A batch may begin before the offset that was asked for.
  return responses[0].partitions[0].messages.filter(m => BigInt(m.offset) >= BigInt(offset))
}

const verbs = {
  hello: async () => ({ name: 'kafkajs', version: require('kafkajs/package.json').version, codecs: ['gzip', 'snappy', 'lz4', 'zstd'] }),

  create: async ({ topic, partitions, replicas = 1, configs = {} }) => {
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    const made = await admin.createTopics({ topics: [{ topic, numPartitions: partitions, replicationFactor: replicas, configEntries }] })
    // For a topic that exists this is all that it says.
    if (!made) throw Object.assign(new Error('topic exists'), { code: 36 })
    return null
  },
  delete: async ({ topic }) => { await admin.deleteTopics({ topics: [topic] }); return null },
  list: async () => (await admin.listTopics()).sort(),
  describe: async ({ topic }) => {
    const { topics: [found] } = await admin.fetchTopicMetadata({ topics: [topic] })
    return { partitions: found.partitions.sort((a, b) => a.partitionId - b.partitionId)
      .map(p => ({ id: p.partitionId, leader: p.leader, replicas: p.replicas.length, isr: p.isr.length })) }
  },
  cluster: async () => {
    const found = await admin.describeCluster()
    return { brokers: found.brokers.length, controller_is_a_broker: found.brokers.some(b => b.nodeId === found.controller), has_id: !!found.clusterId }
  },
  grow: async ({ topic, partitions }) => {
    await admin.createPartitions({ topicPartitions: [{ topic, count: partitions }] })
    return null
  },
  config_get: async ({ topic, name }) => {
    const { resources: [found] } = await admin.describeConfigs({ includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames: [name] }] })
    const [entry] = found.configEntries
    return { value: entry.configValue, source: entry.configSource }
  },
  config_replace: async ({ topic, name, value }) => {
    await admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }] }] })
    return null
  },
  delete_records: async ({ topic, partition, before }) => {
    // It looks for the leader before it asks who that is: without this, the first call fails.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] })
    return { low: null }
  },
  offset: async ({ topic, partition, at }) => {
    if (at === 'max') throw new Unsupported('max timestamp')
    if (at === 'earliest' || at === 'latest') {
      const found = (await admin.fetchTopicOffsets(topic)).find(p => p.partition === partition)
      return Number(at === 'earliest' ? found.low : found.high)
    }
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, Number(at))
    return Number(found.find(p => p.partition === partition).offset)
  },
  produce: async ({ topic, count, seed, base, partitions, codec = 'none', profile = 'full', acks = 'all', idempotent = false }) => {
    const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent, maxInFlightRequests: 1 })
    await producer.connect()
    const level = acks === 'all' ? -1 : Number(acks)
    for (let from = 0; from < count; from += 1000) {
      const messages = []
      for (let index = from; index < Math.min(from + 1000, count); index++) messages.push(made(seed, index, base, partitions, profile))
      await producer.send({ topic, acks: level, compression: CODECS[codec], messages })
    }
    await producer.disconnect()
    return { acked: count }
  },
  send: async ({ topic, partition, size = 10, timestamp }) => {
    const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, allowAutoTopicCreation: true })
    await producer.connect()
    try {
      const message = { value: 'x'.repeat(size), ...(partition === undefined ? {} : { partition }), ...(timestamp ? { timestamp: String(timestamp) } : {}) }
      const [placed] = await producer.send({ topic, acks: -1, messages: [message] })
      return { partition: placed.partition, offset: Number(placed.baseOffset) }
    } finally {
      await producer.disconnect()
    }
  },
  read: async ({ topic, partitions, dump }) => withCluster(async cluster => {
    await cluster.addTargetTopic(topic)
    const ends = await admin.fetchTopicOffsets(topic)
    const results = []
    for (let partition = 0; partition < partitions; partition++) {
      const digest = new Digest(dump ? `${dump}.${partition}` : null)
      const { high, low } = ends.find(p => p.partition === partition)
      for (let at = BigInt(low); at < BigInt(high);) {
        for (const message of await fetchFrom(cluster, topic, partition, at)) {
          digest.add(message)
          at = BigInt(message.offset) + 1n
        }
      }
      results.push(digest.result())
    }
    return { partitions: results }
  }),
  fetch: async ({ topic, partition, offset }) => withCluster(async cluster => {
    await cluster.addTargetTopic(topic)
    const [found] = await fetchFrom(cluster, topic, partition, offset)
    if (!found) return null
    const appended = found.batchContext && found.batchContext.timestampType === 1
    return { offset: Number(found.offset), time_type: appended ? 'append' : 'create', timestamp: Number(found.timestamp) }
  }),
}

// The first of Kafka's error codes in an error or in what caused it.
function codeOf(error) {
  for (let at = error, depth = 0; at && depth < 8; depth++, at = at.cause || (at.errors && at.errors[0]) || at.error ||
    (at.partitions && at.partitions[0]) || at.originalError) {
    if (typeof at.code === 'number' && at.code >= 0) return at.code
  }
  return null
}

async function main() {
  await admin.connect()
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line)
    let reply
    try {
      if (!verbs[command.do]) throw new Unsupported(command.do)
      reply = { ok: await verbs[command.do](command) }
    } catch (error) {
      process.stderr.write(`${error.stack}\n`)
      reply = error instanceof Unsupported ? { unsupported: error.message }
        : { error: { code: codeOf(error), text: `${error.name}: ${error.message}` } }
    }
    process.stdout.write(JSON.stringify(reply) + '\n')
  }
  await admin.disconnect()
  process.exit(0)
}

main()
