// Members of kafkajs. Arguments: bootstrap address. Driven and heard as member.py says.
'use strict'

const fs = require('fs')
const readline = require('readline')
const { Kafka, logLevel } = require('kafkajs')

const bootstrap = process.argv[2]
const onStderr = () => ({ namespace, level, log }) => process.stderr.write(JSON.stringify({ namespace, level, ...log }) + '\n')
const members = new Map()

async function start(settings) {
  const kafka = new Kafka({ clientId: settings.name, brokers: [bootstrap], logLevel: logLevel.INFO, logCreator: onStderr,
    retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 60 } })
  const consumer = kafka.consumer({ groupId: settings.group, sessionTimeout: settings.session_ms, heartbeatInterval: 500,
    rebalanceTimeout: 10000, maxWaitTimeInMs: 100, metadataMaxAge: 5000 })
  const say = (e, facts = {}) =>
    fs.writeSync(1, JSON.stringify({ m: settings.name, t: Number(process.hrtime.bigint()), e, ...facts }) + '\n')
  members.set(settings.name, { consumer, say })
  const { GROUP_JOIN, REBALANCING, CRASH } = consumer.events
  consumer.on(GROUP_JOIN, ({ payload }) => say('owns', { at: Object.entries(payload.memberAssignment)
    .flatMap(([topic, partitions]) => partitions.map(p => `${topic}/${p}`)).sort() }))
  consumer.on(REBALANCING, () => say('owns', { at: [] }))
  consumer.on(CRASH, ({ payload }) => say('refused', { why: String(payload.error) }))
  await consumer.connect()
  await consumer.subscribe({ topics: settings.topics, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, isRunning, isStale }) => {
      if (!isRunning() || isStale() || batch.isEmpty()) return
      const place = `${batch.topic}/${batch.partition}`
      const offset = Number(batch.lastOffset()) + 1
      say('read', { at: { [place]: [Number(batch.firstOffset()), offset - 1] } })
      resolveOffset(batch.lastOffset())
      try {
        await consumer.commitOffsets([{ topic: batch.topic, partition: batch.partition, offset: String(offset) }])
        say('acked', { at: { [place]: offset } })
      } catch (error) {
        say('refused', { why: String(error) })
        // The group's own handling of it goes on from here: a rebalance, or a new coordinator.
        throw error
      }
    },
  })
}

async function close(name) {
  const { consumer, say } = members.get(name)
  // What is being read is finished, and committed, before the group is left.
  await consumer.stop()
  say('owns', { at: [] })
  await consumer.disconnect()
  say('closed')
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line)
    const work = command.do === 'start' ? start(command) : close(command.name)
    work.catch(error => members.get(command.name).say('failed', { why: String(error) }))
  }
  process.exit(0)
}

main()
